//! Runs `targets::print_roundtrip` of the logql crate's tests over inputs that a fuzzer makes up.
#![no_main]

#[path = "../../logql/tests/targets/mod.rs"]
#[expect(dead_code, reason = "each target uses one function of the module")]
mod targets;

libfuzzer_sys::fuzz_target!(|input: &[u8]| targets::print_roundtrip(input));
