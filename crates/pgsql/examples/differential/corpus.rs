//! PostgreSQL's own regression SQL, as psql splits it: a server that takes every statement and runs none.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use e2e::postgres::Programs;
use e2e::wait;

use crate::Result;

/// Of one file of the corpus.
const PATIENCE: Duration = Duration::from_secs(10);
/// Statements of one file: the longest has some 3,000.
const MOST: usize = 20_000;
const NOBODY: u32 = 65_534;
const PACKAGE: &str = "pg_raw_parse";
const FOLDER: &str = "libpg_query/test/sql/postgres_regress";

/// The files by name, and the statements of each in their order.
///
/// # Errors
/// When the corpus is not where the crate has it, or psql cannot be run. Where psql does not end it is said, and what it had
/// sent is kept.
pub(crate) fn read() -> Result<BTreeMap<String, Vec<String>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder()?)? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).ok_or("a file of the corpus has no name")?;
        files.insert(name.to_owned(), split(&path)?);
    }
    if files.len() < 200 {
        return Err(format!("the corpus has {} files: another one than was expected", files.len()).into());
    }
    Ok(files)
}

fn folder() -> Result<PathBuf> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .other_options(vec!["--locked".to_owned(), "--offline".to_owned()])
        .exec()?;
    let package = metadata.packages.iter().find(|package| package.name.as_str() == PACKAGE);
    let manifest = package.and_then(|package| package.manifest_path.parent()).ok_or("no such package")?;
    Ok(manifest.as_std_path().join(FOLDER))
}

fn split(file: &Path) -> Result<Vec<String>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let (sender, statements) = sync_channel(MOST);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(std::io::Result::ok) {
            let sender = sender.clone();
            // A connection that ends early has said what it had to say.
            thread::spawn(move || drop(serve(stream, &sender)));
        }
    });
    let work = tempfile::tempdir()?;
    let programs = Programs::find()?;
    let mut psql = Command::new(programs.client("psql"));
    // Meta-commands write files and call the shell: as somebody who owns nothing.
    if rustix::process::geteuid().is_root() {
        chown(work.path(), Some(NOBODY), Some(NOBODY))?;
        psql.uid(NOBODY).gid(NOBODY);
    }
    let text = fs::read(file)?;
    let mut child = psql
        .args(["-X", "-q", "-h", "127.0.0.1", "-p", &port.to_string(), "-U", "split", "-d", "regression"])
        .env("PGSSLMODE", "disable")
        .env("PGGSSENCMODE", "disable")
        .current_dir(work.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut input = child.stdin.take().ok_or("psql has no input")?;
    thread::spawn(move || drop(input.write_all(&text)));
    if wait::eventually("psql ends", PATIENCE, || child.try_wait().is_ok_and(|ended| ended.is_some())).is_err() {
        println!("{}: psql did not end; the rest of it is left out", file.display());
        child.kill()?;
        child.wait()?;
    }
    Ok(statements.try_iter().collect())
}

/// Takes everything, and says of each statement that it is done.
fn serve(mut stream: TcpStream, sender: &SyncSender<String>) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    body(&mut stream, length)?;
    let mut hello = vec![b'R', 0, 0, 0, 8, 0, 0, 0, 0];
    for (name, value) in
        [("server_version", "18.0"), ("client_encoding", "UTF8"), ("standard_conforming_strings", "on")]
    {
        let text = format!("{name}\0{value}\0");
        hello.push(b'S');
        hello.extend(u32::try_from(text.len() + 4)?.to_be_bytes());
        hello.extend(text.as_bytes());
    }
    hello.extend([b'K', 0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 1]);
    let ready = [b'Z', 0, 0, 0, 5, b'I'];
    hello.extend(ready);
    stream.write_all(&hello)?;
    loop {
        let mut tag = [0; 1];
        stream.read_exact(&mut tag)?;
        stream.read_exact(&mut length)?;
        let mut text = body(&mut stream, length)?;
        let done = [&b"C\0\0\0\x0dSELECT 0\0"[..], &ready].concat();
        match &tag {
            b"Q" => {
                text.pop();
                match String::from_utf8(text) {
                    // CopyInResponse: psql reads the rows from the file, as no statements.
                    Ok(text) if waits_for_rows(&text) => stream.write_all(b"G\0\0\0\x07\0\0\0")?,
                    Ok(text) => {
                        sender.send(text)?;
                        stream.write_all(&done)?;
                    }
                    Err(_) => stream.write_all(&done)?,
                }
            }
            // CopyDone, CopyFail.
            b"c" | b"f" => stream.write_all(&done)?,
            b"S" => stream.write_all(&ready)?,
            b"X" => return Ok(()),
            _ => {}
        }
    }
}

/// For rows from the client, which nobody here would send to the server.
fn waits_for_rows(sql: &str) -> bool {
    let sql = sql.trim_start().to_ascii_lowercase();
    sql.starts_with("copy") && sql.contains("from stdin")
}

fn body(stream: &mut TcpStream, length: [u8; 4]) -> Result<Vec<u8>> {
    let length = u32::from_be_bytes(length).checked_sub(4).ok_or("a length of less than itself")?;
    let mut body = vec![0; usize::try_from(length)?];
    stream.read_exact(&mut body)?;
    Ok(body)
}
