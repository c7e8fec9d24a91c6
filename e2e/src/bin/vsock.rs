//! Opens a VSOCK socket, by which a virtual machine speaks to its host past every rule of netfilter, and says how that
//! ended: `opened`, or the error. No shell has a word for it.

use socket2::{Domain, Socket, Type};

fn main() {
    for kind in [Type::STREAM, Type::DGRAM, Type::SEQPACKET] {
        match Socket::new(Domain::VSOCK, kind, None) {
            Ok(_) => println!("{kind:?}: opened"),
            Err(error) => println!("{kind:?}: {error}"),
        }
    }
}
