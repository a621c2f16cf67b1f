//! The description of a UPnP device, as far as it matters: which of its services map ports, and where they are asked.
//! UPnP Device Architecture 1.1, section 2.3; UPnP IGD:1 and IGD:2. Read as a stream of events, so that depth costs
//! nothing; what answers there is `igd.rs`.

use url::Url;
use xml::reader::{EventReader, XmlEvent};

use super::http::Target;
use crate::nat::NatFault;

/// Services that map ports, the newest first.
const SERVICES: [&str; 3] = [
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
];

/// Services of a description that are kept: a router has one for each way into the internet.
pub(super) const MAX_SERVICES: usize = 4;

/// Elements inside elements. A service of a real device is at depth 10.
const MAX_DEPTH: usize = 32;

/// A service that maps ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) kind: &'static str,
    pub(super) control: Target,
}

/// The services of the description `text`, which was fetched from `from`, the newest first.
///
/// # Errors
/// `Malformed` when it is no description or has no such service; `ForeignHost` when all are at other addresses.
pub(super) fn services(from: &Target, text: &str) -> Result<Vec<Service>, NatFault> {
    let (base, found) = read(text)?;
    let base = base.unwrap_or_else(|| from.url());
    let base = Url::parse(&base).map_err(|_| NatFault::Malformed)?;
    let any = !found.is_empty();
    let mut services: Vec<Service> = found.into_iter().filter_map(|raw| raw.at(from, &base)).collect();
    services.sort_by_key(|service| SERVICES.iter().position(|kind| *kind == service.kind));
    match (services.is_empty(), any) {
        (false, _) => Ok(services),
        (true, true) => Err(NatFault::ForeignHost),
        (true, false) => Err(NatFault::Malformed),
    }
}

/// A service as it stands in the text.
#[derive(Default)]
struct Raw {
    kind: Option<&'static str>,
    control: Option<String>,
}

impl Raw {
    /// Where it is asked. Whoever answers for the gateway must not send us to somebody else.
    fn at(&self, from: &Target, base: &Url) -> Option<Service> {
        let control = Target::of(&base.join(self.control.as_deref()?).ok()?)?;
        (control.address.ip() == from.address.ip()).then_some(Service { kind: self.kind?, control })
    }
}

fn read(text: &str) -> Result<(Option<String>, Vec<Raw>), NatFault> {
    let (mut base, mut found) = (None, Vec::new());
    let (mut depth, mut raw, mut words) = (0_usize, Raw::default(), String::new());
    for event in EventReader::new(text.as_bytes()) {
        match event.map_err(|_| NatFault::Malformed)? {
            XmlEvent::StartElement { name, .. } => {
                depth += 1;
                words.clear();
                if name.local_name == "service" {
                    raw = Raw::default();
                }
                if depth > MAX_DEPTH {
                    return Err(NatFault::Malformed);
                }
            }
            XmlEvent::EndElement { name } => {
                depth = depth.saturating_sub(1);
                match name.local_name.as_str() {
                    "URLBase" if !words.is_empty() => base = Some(words.clone()),
                    "serviceType" => raw.kind = SERVICES.iter().copied().find(|kind| *kind == words.as_str()),
                    "controlURL" => raw.control = Some(words.clone()),
                    "service" => {
                        let done = std::mem::take(&mut raw);
                        found.extend(done.kind.is_some().then_some(done));
                    }
                    _ => {}
                }
                words.clear();
                if found.len() >= MAX_SERVICES {
                    break;
                }
            }
            XmlEvent::Characters(part) | XmlEvent::CData(part) => words.push_str(part.trim()),
            XmlEvent::StartDocument { .. }
            | XmlEvent::EndDocument
            | XmlEvent::ProcessingInstruction { .. }
            | XmlEvent::Comment(_)
            | XmlEvent::Whitespace(_) => {}
        }
    }
    Ok((base, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from() -> Target {
        Target { address: "192.168.1.1:5000".parse().unwrap(), path: "/dir/root.xml".to_owned() }
    }

    fn service(kind: &str, control: &str) -> String {
        format!("<service><serviceType>{kind}</serviceType><controlURL>{control}</controlURL></service>")
    }

    fn device(inside: &str) -> String {
        format!("<?xml version=\"1.0\"?><root xmlns=\"urn:x\"><device>{inside}</device></root>")
    }

    fn urls(text: &str) -> Result<Vec<String>, NatFault> {
        services(&from(), text).map(|found| found.iter().map(|service| service.control.url()).collect())
    }

    #[test]
    fn the_newest_service_comes_first_and_others_are_left_out() {
        let text = device(
            &[service(SERVICES[2], "/ppp"), service("urn:other", "/x"), service(SERVICES[0], "ctl?a=1")]
                .concat(),
        );
        let found = services(&from(), &text).unwrap();
        assert_eq!(found[0].kind, SERVICES[0]);
        assert_eq!(
            urls(&text),
            Ok(vec![
                "http://192.168.1.1:5000/dir/ctl?a=1".to_owned(),
                "http://192.168.1.1:5000/ppp".to_owned()
            ])
        );
    }

    #[test]
    fn a_url_base_moves_the_port_of_controls() {
        let text =
            device(&format!("<URLBase>http://192.168.1.1:49000</URLBase>{}", service(SERVICES[1], "/c")));
        assert_eq!(urls(&text), Ok(vec!["http://192.168.1.1:49000/c".to_owned()]));
    }

    #[test]
    fn s13_a_description_does_not_send_us_to_another_host() {
        for control in
            ["http://192.168.1.2/c", "//10.0.0.1/c", "http://example.org/c", "https://192.168.1.1/"]
        {
            assert_eq!(
                urls(&device(&service(SERVICES[1], control))),
                Err(NatFault::ForeignHost),
                "{control}"
            );
        }
        let base = format!("<URLBase>http://10.0.0.1/</URLBase>{}", service(SERVICES[1], "/c"));
        assert_eq!(urls(&device(&base)), Err(NatFault::ForeignHost));
    }

    #[test]
    fn s13_deep_long_and_broken_descriptions_are_malformed() {
        let deep = "<a>".repeat(20_000);
        let broken = device("<service>").replace("</device>", "");
        for text in ["", "<", "\0", "<root/>", &deep, &broken, "not xml at all"] {
            assert_eq!(urls(text), Err(NatFault::Malformed), "{:.20}", text);
        }
        let many = device(&service(SERVICES[1], "/c").repeat(500));
        assert_eq!(urls(&many).unwrap().len(), MAX_SERVICES);
    }
}
