//! A plot of numbers along virtual time as SVG text: panels one below the other over one time axis, so that numbers of
//! different units stand side by side without a second axis. The same chart gives the same bytes.
//! What the numbers mean is told by the scenarios; where the text goes, by `plot_file`.

use std::{ops::Range, time::Duration};

use plotters::{
    coord::types::RangedCoordf64,
    element::{Circle, PathElement, Rectangle, Text},
    prelude::{
        BLACK, Cartesian2d, ChartBuilder, ChartContext, Color, DrawingArea, DrawingAreaErrorKind,
        IntoDrawingArea, IntoFont, LineSeries, RGBColor, SVGBackend, WHITE,
    },
    style::{
        TextStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};

/// Pixels across.
const WIDTH: u32 = 960;
/// Pixels above the first panel, for title and subtitle.
const HEADER: u32 = 66;
/// Pixels of a panel without the time axis.
const PANEL: u32 = 190;
/// Pixels of the time axis' description, below the last panel.
const FOOTER: u32 = 26;
/// Pixels left of a panel's field, for the numbers and the unit.
const Y_LABELS: u32 = 64;
/// Pixels at the left edge, so that the unit stands clear of it.
const INDENT: u32 = 14;
/// Where a field begins.
const LEFT: u32 = INDENT + Y_LABELS;
/// Pixels below a panel's field, for the numbers.
const X_LABELS: u32 = 28;
/// Pixels above a panel's field, for the names of its lines.
const NAMES: u32 = 30;
/// Pixels at the right edge: half of the last number on the time axis stands there.
const MARGIN: u32 = 24;
/// Letters' heights: of the title, of text and of the numbers on the axes.
const TITLE: f64 = 20.0;
const TEXT: f64 = 13.0;
const NUMBERS: f64 = 12.0;
/// The most numbers on a panel's axes: they stay apart.
const X_NUMBERS: usize = 13;
const Y_NUMBERS: usize = 6;
/// A field keeps this much room above its highest point.
const HEADROOM: f64 = 1.08;
/// Up to so many points in a line, each is marked: a line of one point would not be seen.
const MAX_MARKED: usize = 40;
/// A longer run is told in hours, a shorter one in minutes.
const MINUTES_UP_TO: Duration = Duration::from_secs(3 * 3_600);

/// Okabe and Ito's colours that stand out on white: told apart by the colour-blind too.
const COLORS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];
const GREY: RGBColor = RGBColor(96, 96, 96);
const GRID: RGBColor = RGBColor(224, 224, 224);
const SHADE: RGBColor = RGBColor(240, 240, 240);

/// What is drawn.
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) subtitle: String,
    /// The time axis' length.
    pub(super) span: Duration,
    /// Times that are shaded in every panel.
    pub(super) shaded: Option<Range<Duration>>,
    pub(super) panels: Vec<Panel>,
}

/// Lines of one unit.
pub(super) struct Panel {
    /// The unit, written along the axis.
    pub(super) unit: &'static str,
    /// The axis' end, where it is known beforehand: 100 for a share.
    pub(super) top: Option<f64>,
    pub(super) lines: Vec<Line>,
}

/// A number along virtual time.
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) points: Vec<(Duration, f64)>,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Field<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

impl Chart {
    /// The chart as an SVG document.
    pub(super) fn to_svg(&self) -> String {
        let count = u32::try_from(self.panels.len()).unwrap_or(u32::MAX);
        let height = HEADER + PANEL.saturating_mul(count) + FOOTER;
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        self.draw(&area).expect("a string takes every drawing");
        drop(area);
        svg
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        area.fill(&WHITE)?;
        let left = pixels(LEFT);
        area.draw(&Text::new(self.title.as_str(), (left, 14), text(TITLE, &BLACK)))?;
        area.draw(&Text::new(self.subtitle.as_str(), (left, 40), text(TEXT, &GREY)))?;
        let (_, mut rest) = area.split_vertically(HEADER);
        for panel in &self.panels {
            let (here, below) = rest.split_vertically(PANEL);
            panel.draw(&here, self)?;
            rest = below;
        }
        let middle = pixels((WIDTH - LEFT - MARGIN) / 2 + LEFT);
        let time = format!("virtual time ({})", Axis::of(self.span).unit);
        let style = text(TEXT, &GREY).pos(Pos::new(HPos::Center, VPos::Top));
        rest.draw(&Text::new(time, (middle, 2), style))?;
        area.present()
    }
}

impl Panel {
    fn draw(&self, area: &Area<'_>, chart: &Chart) -> Drawn {
        let axis = Axis::of(chart.span);
        self.draw_names(area)?;
        let mut field: Field<'_, '_> = ChartBuilder::on(area)
            .margin_top(NAMES)
            .margin_left(INDENT)
            .margin_right(MARGIN)
            .x_label_area_size(X_LABELS)
            .y_label_area_size(Y_LABELS)
            .build_cartesian_2d(0.0..axis.place(chart.span), 0.0..self.top())?;
        let shaded = chart.shaded.iter().map(|times| {
            let corners = [(axis.place(times.start), 0.0), (axis.place(times.end), self.top())];
            Rectangle::new(corners, SHADE.filled())
        });
        field.draw_series(shaded)?;
        field
            .configure_mesh()
            .axis_style(GREY)
            .bold_line_style(GRID)
            .light_line_style(WHITE.mix(0.0))
            .label_style(text(NUMBERS, &GREY))
            .x_labels(X_NUMBERS)
            .y_labels(Y_NUMBERS)
            .x_label_formatter(&|value| number(*value))
            .y_label_formatter(&|value| number(*value))
            .y_desc(self.unit)
            .axis_desc_style(text(TEXT, &GREY))
            .draw()?;
        for (line, color) in self.lines.iter().zip(colors()) {
            let points: Vec<(f64, f64)> =
                line.points.iter().map(|(at, value)| (axis.place(*at), *value)).collect();
            if points.len() <= MAX_MARKED {
                field.draw_series(points.iter().map(|point| Circle::new(*point, 3, color.filled())))?;
            }
            field.draw_series(LineSeries::new(points, color.stroke_width(2)))?;
        }
        Ok(())
    }

    /// The legend: a stroke in each line's colour and its name, above the field and never over a line.
    fn draw_names(&self, area: &Area<'_>) -> Drawn {
        /// Pixels across of a character, at the most: an SVG's reader chooses the font.
        const CHARACTER: usize = 7;
        /// Pixels of the stroke, and from a name's end to the next stroke.
        const STROKE: i32 = 22;
        const GAP: i32 = 36;
        /// Pixels from the panel's upper edge to the names' middle.
        const MIDDLE: i32 = 18;
        let mut left = pixels(LEFT);
        for (line, color) in self.lines.iter().zip(colors()) {
            let stroke = vec![(left, MIDDLE), (left + STROKE, MIDDLE)];
            area.draw(&PathElement::new(stroke, color.stroke_width(3)))?;
            let style = text(TEXT, &BLACK).pos(Pos::new(HPos::Left, VPos::Center));
            area.draw(&Text::new(line.name, (left + STROKE + 7, MIDDLE), style))?;
            let name = u32::try_from(line.name.len() * CHARACTER).unwrap_or(u32::MAX);
            left = left.saturating_add(STROKE + pixels(name) + GAP);
        }
        Ok(())
    }

    fn top(&self) -> f64 {
        let highest = self.lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
        let highest = highest.filter(|value| value.is_finite()).fold(0.0, f64::max);
        let top = self.top.map_or_else(|| highest * HEADROOM, |top| f64::max(top, highest));
        // A line of zeros still needs a field.
        if top > 0.0 { top } else { 1.0 }
    }
}

/// What came a second in the time up to each moment, of what had come in all by then.
pub(super) fn rates(totals: impl Iterator<Item = (Duration, f64)>) -> Vec<(Duration, f64)> {
    let mut before = (Duration::ZERO, 0.0);
    let rate = |now: (Duration, f64)| {
        let ((at, total), (then, less)) = (now, std::mem::replace(&mut before, now));
        let seconds = at.saturating_sub(then).as_secs_f64();
        // The last sample of a run may come at the moment of the one before.
        (seconds > 0.0).then(|| (at, (total - less) / seconds))
    };
    totals.filter_map(rate).collect()
}

/// How a time becomes a place on the time axis.
#[derive(Clone, Copy)]
struct Axis {
    unit: &'static str,
    seconds: f64,
}

impl Axis {
    fn of(span: Duration) -> Self {
        if span <= MINUTES_UP_TO {
            Self { unit: "minutes", seconds: 60.0 }
        } else {
            Self { unit: "hours", seconds: 3_600.0 }
        }
    }

    fn place(self, at: Duration) -> f64 {
        at.as_secs_f64() / self.seconds
    }
}

fn colors() -> impl Iterator<Item = RGBColor> {
    COLORS.into_iter().cycle()
}

fn text(size: f64, color: &RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(color)
}

fn pixels(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// A number on an axis: thousands set apart, millions told as such.
fn number(value: f64) -> String {
    // Steps of an axis are decimal; what is behind three digits comes from adding binary ones.
    let rounded = |value: f64| (value * 1e3).round() / 1e3;
    match value {
        1e6.. => format!("{}M", rounded(value / 1e6)),
        1e3.. => format!("{},{:03}", (value / 1e3).floor(), (value % 1e3).floor()),
        _ => rounded(value).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(points: &[(u64, f64)]) -> Vec<(Duration, f64)> {
        points.iter().map(|(minute, value)| (Duration::from_secs(minute * 60), *value)).collect()
    }

    fn chart(points: &[(u64, f64)]) -> Chart {
        let line = Line { name: "nodes <live> & listed", points: minutes(points) };
        let panel = Panel { unit: "nodes", top: None, lines: vec![line] };
        Chart {
            title: "a plot".to_owned(),
            subtitle: "seed 7".to_owned(),
            span: Duration::from_secs(600),
            shaded: None,
            panels: vec![panel],
        }
    }

    #[test]
    fn an_svg_tells_its_axes_and_its_lines() {
        let svg = chart(&[(0, 0.0), (5, 100.0), (10, 200.0)]).to_svg();
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"), "{svg}");
        for told in
            ["a plot", "seed 7", "virtual time (minutes)", "nodes &lt;live&gt; &amp; listed", "<polyline"]
        {
            assert!(svg.contains(told), "{told}: {svg}");
        }
    }

    #[test]
    fn shaded_times_are_seen_in_every_panel() {
        let shaded = Some(Duration::from_secs(60)..Duration::from_secs(120));
        let shade = "fill=\"#F0F0F0\"";
        let plain = chart(&[(0, 0.0)]);
        assert!(!plain.to_svg().contains(shade));
        assert_eq!(Chart { shaded, ..plain }.to_svg().matches(shade).count(), 1);
    }

    #[test]
    fn nothing_measured_is_an_empty_field() {
        for points in [&[][..], &[(0, 0.0)], &[(3, f64::NAN)]] {
            let svg = chart(points).to_svg();
            assert!(svg.contains("virtual time") && !svg.contains("NaN"), "{svg}");
        }
    }

    #[test]
    fn rates_are_of_the_time_between_samples() {
        let totals = minutes(&[(1, 600.0), (2, 900.0), (2, 900.0), (4, 900.0)]);
        assert_eq!(rates(totals.into_iter()), minutes(&[(1, 10.0), (2, 5.0), (4, 0.0)]));
    }

    #[test]
    fn numbers_on_an_axis_read_easily() {
        let told = [0.0, 0.1 + 0.2, 9_000.0, 12_500.0, 2_500_000.0].map(number);
        assert_eq!(told, ["0", "0.3", "9,000", "12,500", "2.5M"]);
    }
}
