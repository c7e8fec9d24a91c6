//! Rule 1 as a type error: what each file in `fail/` tries must not compile, for the reason that its `.stderr` holds.

#[test]
fn a_permit_cannot_be_made_cloned_or_used_twice_and_nobody_else_reaches_the_socket() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/fail/*.rs");
}
