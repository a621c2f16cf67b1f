//! The fuzzer's way into `hostile::frame`.
//! What is done with the bytes and what must hold is said there.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    hostile::frame::run(data);
});
