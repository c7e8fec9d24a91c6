//! Compiles the schema; no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let schema = "agentaccess/v1.proto";
    println!("cargo:rerun-if-changed=proto/{schema}");
    let compiled = protox::compile([schema], ["proto"])?;
    tonic_prost_build::configure().build_transport(false).codec_path("crate::codec::Lean").compile_fds(compiled)?;
    Ok(())
}
