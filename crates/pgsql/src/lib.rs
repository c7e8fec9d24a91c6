pub mod catalog; pub mod plan; pub mod refused;
pub mod parse { #[derive(Clone,Copy,Debug)] pub struct Limits { pub bytes: usize, pub depth: usize, pub nodes: usize } impl Default for Limits { fn default()->Self{Self{bytes:0,depth:0,nodes:0}} } }
pub mod mask { use crate::catalog::*; #[derive(Debug,Clone)] pub struct MaskTable; #[derive(Debug)] pub struct P; impl std::fmt::Display for P { fn fmt(&self,_f:&mut std::fmt::Formatter<'_>)->std::fmt::Result{Ok(())} } impl MaskTable { pub fn build(_c:&Catalog,_r:&[policy::MaskRule])->Self{Self} pub fn problems(&self)->&[P]{&[]} } }
pub mod settings { pub fn check_value(_s:&str,_v:&str)->Result<(),crate::refused::Refused>{Ok(())} }
pub mod classify { pub fn plan(_s:&str,_c:&crate::plan::Context<'_>)->Result<crate::plan::Plan,crate::refused::Refused>{Err(crate::refused::Refused::new("x"))} }
