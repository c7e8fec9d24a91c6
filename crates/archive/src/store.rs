//! The store itself: bounded, timed access to objects.
//!
//! Refused: an object larger than what was asked for, whatever its server says of its size; in a folder what is no plain
//! file; and a store that makes an object which exists already ([`Store::probe`]). Invariant: every call ends within [`DEADLINE`], a list within [`LISTING`].

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use bytes::{Bytes, BytesMut};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, Error, GetResult, GetResultPayload, ObjectMeta, ObjectStore, ObjectStoreExt as _,
    PutMode, PutOptions, RetryConfig,
};
use tokio_stream::StreamExt as _;

use crate::credentials::{Credentials, FromFolder, load};
use crate::error::{StoreError, absent, by_kind, told};
use crate::folder::Folder;
use crate::head::Head;
use crate::id::RecordingId;
use crate::location::{Kind, Location};
use crate::remembered::Remembered;
use crate::shelf::{Shelf, Tail};
use crate::trust::Trust;

/// How long one call may take, with what is tried again within it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(20);
const CONNECT: Duration = Duration::from_secs(5);
/// How long the list of a folder may take: it comes in pages of a thousand.
const LISTING: Duration = Duration::from_secs(120);
/// Most objects of one folder that are looked at: half as many segments, one a minute for a year.
const MAX_LISTED: usize = 1_000_000;
/// Most recordings on one page.
const PAGE: usize = 1_000;

/// A directory or a bucket that holds recordings. Clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<dyn ObjectStore>,
    root: Path,
    shown: Arc<str>,
    /// Of a directory: how it is written.
    folder: Option<Folder>,
    /// The newest segment of recordings.
    pub(crate) newest: Remembered<u64>,
    /// The newest countersigned head of recordings.
    pub(crate) heads: Remembered<(u64, Head)>,
    /// Where the lines of recordings end, those that are in no segment yet included.
    pub(crate) tails: Remembered<Tail>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.shown)
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Store {
    /// Opens it without asking it anything, but that a folder has to be there: one that is made anew because a volume
    /// is not mounted would lose what is put into it.
    ///
    /// # Errors
    /// When the folder or the credentials cannot be used.
    pub fn open(location: &Location, credentials: &Credentials) -> Result<Self, StoreError> {
        Self::open_trusting(location, credentials, &Trust::System)
    }

    /// The same for a bucket whose server others vouch for.
    ///
    /// # Errors
    /// Also when no server would be checked by them.
    pub fn open_trusting(location: &Location, credentials: &Credentials, trust: &Trust) -> Result<Self, StoreError> {
        let shown = location.to_string().into();
        match location.kind() {
            Kind::Folder(folder) => {
                if matches!(trust, Trust::Only(_)) {
                    return Err(StoreError::Unfit("a folder has no server that a CA could vouch for".to_owned()));
                }
                let not_there = |error: std::io::Error| {
                    let why = format!("folder `{}`: {error}; make it, or mount the volume", folder.display());
                    StoreError::Unfit(why)
                };
                if !std::fs::metadata(folder).map_err(not_there)?.is_dir() {
                    return Err(StoreError::Unfit(format!("`{}` is no folder", folder.display())));
                }
                let inner = Arc::new(LocalFileSystem::new_with_prefix(folder).map_err(|error| told(&error))?);
                let (root, folder) = (Path::default(), Some(Folder::new(folder)));
                Ok(Self::of(inner, root, shown, folder))
            }
            Kind::S3 { bucket, prefix, region, endpoint } => {
                let builder = match credentials {
                    Credentials::None => {
                        return Err(StoreError::Unfit("a bucket needs credentials, and none were named".to_owned()));
                    }
                    Credentials::Environment => AmazonS3Builder::from_env(),
                    Credentials::Folder(folder) => {
                        load(folder).map_err(StoreError::Unfit)?;
                        AmazonS3Builder::new().with_credentials(Arc::new(FromFolder::new(folder)))
                    }
                };
                let builder = builder.with_bucket_name(bucket).with_region(region).with_retry(retries());
                let plain = endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
                let builder = builder.with_client_options(client(plain, trust)?);
                let builder = match endpoint {
                    Some(endpoint) => builder.with_endpoint(endpoint).with_virtual_hosted_style_request(false),
                    None => builder,
                };
                let inner = builder.build().map_err(|error| unbuilt(&error))?;
                let root = Path::parse(prefix).map_err(|_| StoreError::Unfit("its prefix is none".into()))?;
                Ok(Self::of(Arc::new(inner), root, shown, None))
            }
        }
    }

    fn of(inner: Arc<dyn ObjectStore>, root: Path, shown: Arc<str>, folder: Option<Folder>) -> Self {
        let (newest, heads, tails) = (Remembered::default(), Remembered::default(), Remembered::default());
        Self { inner, root, shown, folder, newest, heads, tails }
    }

    /// Where the recording of a pod is kept.
    pub fn shelf(&self, id: &RecordingId) -> Shelf {
        Shelf::new(self.clone(), id.clone())
    }

    /// All recordings, in pages.
    pub fn recordings(&self) -> Recordings {
        Recordings { store: self.clone(), namespaces: None, waiting: Vec::new() }
    }

    /// Writes, reads and removes an object, and tries to make it twice.
    ///
    /// # Errors
    /// [`StoreError::Unfit`] when the store replaces what exists: then nothing would keep two replicas apart.
    pub async fn probe(&self) -> Result<(), StoreError> {
        let mut random = [0; 8];
        rand::fill(&mut random).map_err(|_| StoreError::Unfit("the system gave no randomness".to_owned()))?;
        let path = self.root.clone().join("probe").join(format!("{:016x}", u64::from_be_bytes(random)));
        let content = Bytes::from_static(b"agentaccess was here; this may be removed\n");
        let tried = async {
            if !self.create(&path, content.clone()).await? || self.get(&path, 1 << 10).await? != Some(content.clone()) {
                return Err(StoreError::Unfit("what was written is not what is read".to_owned()));
            }
            if self.create(&path, content.clone()).await? {
                let why = "it replaces objects that exist where it was told to create them (If-None-Match)";
                return Err(StoreError::Unfit(why.to_owned()));
            }
            Ok(())
        };
        let tried = tried.await;
        let removed = self.remove(&path).await;
        tried.and(removed)
    }

    pub(crate) fn shelf_path(&self, id: &RecordingId) -> Path {
        self.root.clone().join("recordings").join(id.namespace()).join(id.pod_uid())
    }

    /// The object; none when there is none.
    pub(crate) async fn get(&self, path: &Path, most: u64) -> Result<Option<Bytes>, StoreError> {
        let damaged = |what| StoreError::Damaged { object: path.to_string(), what };
        if !self.is_plain(path).await? {
            return Err(damaged("it is no plain file".to_owned()));
        }
        let got = async { bounded(self.inner.get(path).await?, most).await };
        match timed(got).await? {
            Ok(Some(bytes)) => Ok(Some(bytes)),
            Ok(None) => Err(damaged(format!("it has more than the {most} bytes that it may have"))),
            Err(error) if absent(&error) => Ok(None),
            Err(error) => Err(told(&error)),
        }
    }

    /// False for what is there in a folder and would lead elsewhere, or could be waited for without end.
    async fn is_plain(&self, path: &Path) -> Result<bool, StoreError> {
        let Some(folder) = &self.folder else { return Ok(true) };
        // What cannot be looked at cannot be read either, which is said then.
        Ok(timed(tokio::fs::symlink_metadata(folder.place(path))).await?.map_or(true, |there| there.is_file()))
    }

    /// Size of the object; none when there is none.
    pub(crate) async fn size(&self, path: &Path) -> Result<Option<u64>, StoreError> {
        match timed(self.inner.head(path)).await? {
            Ok(meta) => Ok(Some(meta.size)),
            Err(error) if absent(&error) => Ok(None),
            Err(error) => Err(told(&error)),
        }
    }

    /// Makes the object for good; false when there is one already, which then stays as it is.
    pub(crate) async fn create(&self, path: &Path, content: Bytes) -> Result<bool, StoreError> {
        if let Some(folder) = self.folder.clone() {
            let path = path.clone();
            return blocking_io(move || folder.create(&path, &content)).await;
        }
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match timed(self.inner.put_opts(path, content.into(), options)).await? {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(told(&error)),
        }
    }

    /// For what can be made again from other objects.
    pub(crate) async fn replace(&self, path: &Path, content: Bytes) -> Result<(), StoreError> {
        if let Some(folder) = self.folder.clone() {
            let path = path.clone();
            return blocking_io(move || folder.replace(&path, &content)).await;
        }
        timed(self.inner.put(path, content.into())).await?.map(|_| ()).map_err(|error| told(&error))
    }

    pub(crate) async fn remove(&self, path: &Path) -> Result<(), StoreError> {
        match timed(self.inner.delete(path)).await? {
            Ok(()) => Ok(()),
            Err(error) if absent(&error) => Ok(()),
            Err(error) => Err(told(&error)),
        }
    }

    /// Removes what is there of these, as many at a time as the store takes.
    pub(crate) async fn remove_all(&self, paths: Vec<Path>) -> Result<(), StoreError> {
        let mut gone = self.inner.delete_stream(Box::pin(tokio_stream::iter(paths.into_iter().map(Ok))));
        let all = async {
            while let Some(removed) = gone.next().await {
                match removed {
                    Err(error) if !absent(&error) => return Err(told(&error)),
                    _ => {}
                }
            }
            Ok(())
        };
        timed(all).await?
    }

    /// Names of the objects of a folder that come after `after`.
    pub(crate) async fn names(&self, folder: &Path, after: Option<&Path>) -> Result<Vec<String>, StoreError> {
        let mut list = match after {
            Some(after) => self.inner.list_with_offset(Some(folder), after),
            None => self.inner.list(Some(folder)),
        };
        let all = async {
            let mut names = Vec::new();
            while let Some(object) = list.next().await {
                let object: ObjectMeta = object?;
                names.extend(object.location.filename().map(str::to_owned));
                if names.len() > MAX_LISTED {
                    return Ok(Err(()));
                }
            }
            Ok(Ok(names))
        };
        match within(LISTING, all).await? {
            Ok(Ok(names)) => Ok(names),
            Ok(Err(())) => {
                let what = format!("it holds more than {MAX_LISTED} objects");
                Err(StoreError::Damaged { object: folder.to_string(), what })
            }
            Err(error) if absent(&error) => Ok(Vec::new()),
            Err(error) => Err(told(&error)),
        }
    }

    /// Names of the folders of a folder, in order.
    async fn folders(&self, folder: &Path) -> Result<Vec<String>, StoreError> {
        match timed(self.inner.list_with_delimiter(Some(folder))).await? {
            Ok(list) => {
                let names = list.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned));
                let mut names: Vec<String> = names.collect();
                names.sort();
                Ok(names)
            }
            Err(error) if absent(&error) => Ok(Vec::new()),
            Err(error) => Err(told(&error)),
        }
    }
}

/// Recordings of a store, namespace by namespace.
#[derive(Debug)]
pub struct Recordings {
    store: Store,
    /// Not begun, or those still to be looked at, last one first.
    namespaces: Option<Vec<String>>,
    /// Of the namespace at hand, last one first.
    waiting: Vec<RecordingId>,
}

impl Recordings {
    /// The next page: at most a thousand, in order. None at the end. What is no recording is left out.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub async fn next(&mut self) -> Result<Option<Vec<RecordingId>>, StoreError> {
        let root = self.store.root.clone().join("recordings");
        if self.namespaces.is_none() {
            let mut all = self.store.folders(&root).await?;
            all.reverse();
            self.namespaces = Some(all);
        }
        while self.waiting.is_empty() {
            let Some(namespace) = self.namespaces.as_mut().and_then(Vec::pop) else { return Ok(None) };
            let pods = self.store.folders(&root.clone().join(namespace.as_str())).await?;
            self.waiting = pods.iter().rev().filter_map(|pod| RecordingId::new(&namespace, pod).ok()).collect();
        }
        let rest = self.waiting.len().saturating_sub(PAGE);
        let mut page = self.waiting.split_off(rest);
        page.reverse();
        Ok(Some(page))
    }
}

fn client(plain: bool, trust: &Trust) -> Result<ClientOptions, StoreError> {
    let options = ClientOptions::new().with_timeout(REQUEST).with_connect_timeout(CONNECT);
    match trust {
        // An image without certificates is enough where there is nothing to check with them.
        Trust::System => Ok(options.with_allow_http(plain).with_no_system_certificates(plain)),
        Trust::Only(_) if plain => {
            Err(StoreError::Unfit("its server is http://, so there is nothing that a CA could vouch for".to_owned()))
        }
        Trust::Only(authorities) => {
            let options = options.with_no_system_certificates(true);
            Ok(authorities.certificates().fold(options, ClientOptions::with_root_certificate))
        }
    }
}

/// None when it is longer than `most`.
async fn bounded(got: GetResult, most: u64) -> Result<Option<Bytes>, Error> {
    if got.meta.size > most {
        return Ok(None);
    }
    let mut parts = match got.payload {
        // A file is read up to the size that it had.
        GetResultPayload::File(..) => return got.bytes().await.map(Some),
        GetResultPayload::Stream(parts) => parts,
    };
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut bytes = BytesMut::new();
    while let Some(part) = parts.next().await {
        let part = part?;
        if bytes.len().saturating_add(part.len()) > most {
            return Ok(None);
        }
        bytes.extend_from_slice(&part);
    }
    Ok(Some(bytes.freeze()))
}

/// Why there is no client. Its words may hold settings of the environment.
fn unbuilt(error: &Error) -> StoreError {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("No CA certificates") {
            let why = "there are no certificates to check its server with: name a file of them in SSL_CERT_FILE";
            return StoreError::Unfit(why.to_owned());
        }
        cause = error.source();
    }
    StoreError::Unfit("its settings, or those of AWS in the environment, do not go together".to_owned())
}

fn retries() -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2.0 };
    RetryConfig { backoff, max_retries: 3, retry_timeout: REQUEST }
}

async fn blocking_io<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let stopping = |_| StoreError::Away("this program is stopping".to_owned());
    timed(tokio::task::spawn_blocking(work)).await?.map_err(stopping)?.map_err(|error| by_kind(&error))
}

async fn timed<T>(call: impl Future<Output = T>) -> Result<T, StoreError> {
    within(DEADLINE, call).await
}

pub(crate) async fn within<T>(limit: Duration, call: impl Future<Output = T>) -> Result<T, StoreError> {
    let late = |_| StoreError::Away(format!("no answer within {} s", limit.as_secs()));
    tokio::time::timeout(limit, call).await.map_err(late)
}
