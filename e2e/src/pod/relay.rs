//! A way from outside of a pod to a server of the test, which listens where the test runs.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;

/// Serves until the test process ends. A socket stays in the namespace that it was made in: the listener there, the
/// connections to the server here.
pub(super) fn serve(listener: TcpListener, server: u16) {
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(upstream) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)) else { continue };
            let (Ok(back), Ok(forth)) = (client.try_clone(), upstream.try_clone()) else { continue };
            thread::spawn(move || copy(client, upstream));
            thread::spawn(move || copy(forth, back));
        }
    });
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    // An error on either side is the end of both.
    let _ended = io::copy(&mut from, &mut to);
    let _gone = to.shutdown(Shutdown::Both);
    let _gone = from.shutdown(Shutdown::Both);
}
