//! Functions of the grammar's C code that nothing calls want `strlcpy`, which glibc has since 2.38; `-Clink-dead-code`
//! keeps them.

/// Called by nobody.
#[unsafe(no_mangle)]
pub extern "C" fn strlcpy() {
    std::process::abort()
}
