//! Puts a ruleset into the kernel over one netlink socket.
//!
//! Invariant: `Ok` means that the kernel acknowledged each message of the batch. Fewer acknowledgements, an error among
//! them, a message of another process or a buffer that was too small is an error, whatever the rules may be then.

use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recvfrom, sendto, socket_with, sockopt,
};

use super::ruleset::{Fence, FenceError};

/// For the answers to a batch; the default is too small for many ports.
const BUFFER: usize = 4 << 20;
/// One answer: header, error number, the header of the message.
const ANSWER: usize = 4096;
const HEADER: usize = 16;
/// `NLMSG_ERROR`, which also says that there was none.
const ERROR: u16 = 2;

#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error(transparent)]
    Fence(#[from] FenceError),
    #[error("the kernel gives no netfilter socket: {0}")]
    Socket(Errno),
    #[error("the ruleset cannot be sent to the kernel: {0}")]
    Send(Errno),
    #[error("the kernel's answer cannot be read: {0}")]
    Receive(Errno),
    #[error("not allowed: the container needs the capability NET_ADMIN, effective for this program")]
    NotAllowed,
    #[error("the kernel refused message {message} of the ruleset: {errno}; nothing of it is in force")]
    Refused { message: u32, errno: Errno },
    #[error("the kernel acknowledged {got} of {expected} messages")]
    Unacknowledged { got: u32, expected: u32 },
    #[error("the answer on the netfilter socket is not understood")]
    Malformed,
}

/// Replaces the fence of this network namespace, as a whole.
///
/// # Errors
/// [`InstallError`]; then no container of the pod may start.
pub fn install(fence: &Fence) -> Result<(), InstallError> {
    let (bytes, expected) = fence.encoded()?;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(NETFILTER))
        .map_err(InstallError::Socket)?;
    // Forcing needs the capability that the rules need anyway; without it the batch itself says so.
    let _ = sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER);
    let _ = sockopt::set_socket_send_buffer_size_force(&socket, BUFFER);
    let kernel = SocketAddrNetlink::new(0, 0);
    bind(&socket, &kernel).map_err(InstallError::Socket)?;
    let sent = sendto(&socket, &bytes, SendFlags::empty(), &kernel).map_err(InstallError::Send)?;
    if sent != bytes.len() {
        return Err(InstallError::Send(Errno::MSGSIZE));
    }
    let mut got: u32 = 0;
    let mut buffer = [0; ANSWER];
    loop {
        // The kernel answers inside sendto: what is not there now will not come.
        let (read, whole, from) = match recvfrom(&socket, &mut buffer[..], RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
            Ok(received) => received,
            Err(Errno::AGAIN) => break,
            Err(errno) => return Err(InstallError::Receive(errno)),
        };
        let from = from.and_then(|from| SocketAddrNetlink::try_from(from).ok());
        let answer = buffer.get(..read).filter(|_| read == whole && from.is_some_and(|from| from.pid() == 0));
        got = got.saturating_add(acknowledgements(answer.ok_or(InstallError::Malformed)?)?);
    }
    if got == expected { Ok(()) } else { Err(InstallError::Unacknowledged { got, expected }) }
}

/// Counts what one datagram acknowledges.
fn acknowledgements(mut rest: &[u8]) -> Result<u32, InstallError> {
    let mut count: u32 = 0;
    while !rest.is_empty() {
        let length = usize::try_from(word(rest, 0)?).map_err(|_| InstallError::Malformed)?;
        let kind = u16::from_ne_bytes(part(rest, 4)?);
        let (sequence, number) = (word(rest, 8)?, i32::from_ne_bytes(part(rest, HEADER)?));
        if kind != ERROR || length < HEADER {
            return Err(InstallError::Malformed);
        }
        if number != 0 {
            let errno = Errno::from_raw_os_error(number.saturating_neg());
            return Err(match (sequence, errno) {
                (_, Errno::PERM) => InstallError::NotAllowed,
                (message, errno) => InstallError::Refused { message, errno },
            });
        }
        count = count.saturating_add(1);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(count)
}

fn word(bytes: &[u8], at: usize) -> Result<u32, InstallError> {
    part(bytes, at).map(u32::from_ne_bytes)
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], InstallError> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(InstallError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: u16, sequence: u32, number: i32) -> Vec<u8> {
        let mut out = 36_u32.to_ne_bytes().to_vec();
        out.extend_from_slice(&kind.to_ne_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&sequence.to_ne_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&number.to_ne_bytes());
        out.extend_from_slice(&[0; 16]);
        out
    }

    #[test]
    fn only_acknowledgements_without_an_error_count() {
        let two = [answer(ERROR, 1, 0), answer(ERROR, 2, 0)].concat();
        assert!(matches!(acknowledgements(&two), Ok(2)));
        let failed = [answer(ERROR, 1, 0), answer(ERROR, 2, -22)].concat();
        assert!(matches!(acknowledgements(&failed), Err(InstallError::Refused { message: 2, errno: Errno::INVAL })));
        assert!(matches!(acknowledgements(&answer(ERROR, 0, -1)), Err(InstallError::NotAllowed)));
        assert!(matches!(acknowledgements(&answer(3, 1, 0)), Err(InstallError::Malformed)));
        assert!(matches!(acknowledgements(&two[..18]), Err(InstallError::Malformed)));
    }
}
