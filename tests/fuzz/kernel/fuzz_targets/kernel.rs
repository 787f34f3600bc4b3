//! The target of cargo-fuzz: bytes that it finds worth trying.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| margrave_fuzz::check(data));
