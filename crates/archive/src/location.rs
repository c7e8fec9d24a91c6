//! Where a store is, as an operator writes it: `file:///srv/recordings`, or
//! `s3://BUCKET/PREFIX?region=REGION&endpoint=URL`.
//!
//! Refused: credentials in it, a parameter that is not known, a relative folder, an endpoint that is no URL. Invariant:
//! what is shown of a location, also of one that was refused, holds no credential.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use url::Url;

/// Where AWS begins when nothing is said.
const REGION: &str = "us-east-1";
const FORMS: &str = "write file:///FOLDER or s3://BUCKET/PREFIX?region=REGION&endpoint=URL";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    #[error("this is no location of a store: {FORMS}")]
    Form,
    #[error(
        "a location holds no credentials: take them out, and name a folder that holds them, or use the environment"
    )]
    Credentials,
    #[error("a folder is written with three slashes, file:///srv/recordings, and from the root")]
    Folder,
    #[error("a bucket is 3 to 63 lower case letters, digits, dots and hyphens, as in s3://recordings/prefix")]
    Bucket,
    #[error("a prefix has no empty part, no `.` and no `..`, and letters, digits, `.`, `-`, `_` only")]
    Prefix,
    #[error("a location has no parameter `{0}`: only s3:// has any, and they are region and endpoint")]
    Parameter(String),
    #[error("the region is letters, digits and hyphens, such as eu-central-1")]
    Region,
    #[error("the endpoint is http://HOST[:PORT] or https://HOST[:PORT], without credentials and path")]
    Endpoint,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder(PathBuf),
    S3 { bucket: String, prefix: String, region: String, endpoint: Option<String> },
}

/// A place for recordings.
#[derive(Clone, PartialEq, Eq)]
pub struct Location {
    kind: Kind,
}

impl Location {
    /// A folder of this machine, which may be a mounted volume.
    pub fn folder(path: &Path) -> Result<Self, LocationError> {
        let text = path.to_str().ok_or(LocationError::Folder)?;
        let plain = path.is_absolute() && !text.chars().any(char::is_control) && !text.contains("/../");
        if plain { Ok(Self { kind: Kind::Folder(path.to_owned()) }) } else { Err(LocationError::Folder) }
    }

    pub(crate) fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Whether credentials are of any use here.
    pub fn is_remote(&self) -> bool {
        matches!(self.kind, Kind::S3 { .. })
    }

    /// The folder, where it is one.
    pub fn as_folder(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Folder(path) => Some(path),
            Kind::S3 { .. } => None,
        }
    }

    fn bucket(url: &Url) -> Result<Self, LocationError> {
        let bucket = url.host_str().unwrap_or_default();
        let name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
        if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(name) || url.port().is_some() {
            return Err(LocationError::Bucket);
        }
        let (mut region, mut endpoint) = (REGION.to_owned(), None);
        for (name, value) in url.query_pairs() {
            match &*name {
                "region" => region = plain_region(&value)?,
                "endpoint" => endpoint = Some(plain_endpoint(&value)?),
                other => return Err(parameter(other)),
            }
        }
        let prefix = plain_prefix(url.path())?;
        Ok(Self { kind: Kind::S3 { bucket: bucket.to_owned(), prefix, region, endpoint } })
    }
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        let url = Url::parse(text).map_err(|_| LocationError::Form)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(LocationError::Credentials);
        }
        if url.fragment().is_some() {
            return Err(LocationError::Form);
        }
        match url.scheme() {
            "file" => {
                if let Some((name, _)) = url.query_pairs().next() {
                    return Err(parameter(&name));
                }
                if !text.starts_with("file:///") || url.path() == "/" {
                    return Err(LocationError::Folder);
                }
                Self::folder(&url.to_file_path().map_err(|()| LocationError::Folder)?)
            }
            "s3" => Self::bucket(&url),
            _ => Err(LocationError::Form),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Folder(path) => write!(f, "file://{}", path.display()),
            Kind::S3 { bucket, prefix, region, endpoint } => {
                let slash = if prefix.is_empty() { "" } else { "/" };
                write!(f, "s3://{bucket}{slash}{prefix}?region={region}")?;
                endpoint.as_ref().map_or(Ok(()), |endpoint| write!(f, "&endpoint={endpoint}"))
            }
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

/// A name that may be shown: somebody may have written a secret in its place.
fn parameter(name: &str) -> LocationError {
    let known = name.len() <= 20 && name.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c == '-');
    LocationError::Parameter(if known { name.to_owned() } else { "?".to_owned() })
}

fn plain_prefix(path: &str) -> Result<String, LocationError> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let part = |part: &str| !matches!(part, "" | "." | "..") && part.chars().all(plain);
    let fits = path.is_empty() || (path.len() <= 256 && path.split('/').all(part));
    if fits { Ok(path.to_owned()) } else { Err(LocationError::Prefix) }
}

fn plain_region(region: &str) -> Result<String, LocationError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let fits = (1..=40).contains(&region.len()) && region.chars().all(plain);
    if fits { Ok(region.to_owned()) } else { Err(LocationError::Region) }
}

fn plain_endpoint(endpoint: &str) -> Result<String, LocationError> {
    let url = Url::parse(endpoint).map_err(|_| LocationError::Endpoint)?;
    let bare = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    let place = url.host_str().is_some_and(|host| !host.is_empty()) && matches!(url.path(), "" | "/");
    let fits = matches!(url.scheme(), "http" | "https") && bare && place && url.fragment().is_none();
    if fits { Ok(url.as_str().trim_end_matches('/').to_owned()) } else { Err(LocationError::Endpoint) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_written_and_how_it_is_shown() {
        for (text, shown) in [
            ("file:///srv/recordings", "file:///srv/recordings"),
            ("s3://recordings", "s3://recordings?region=us-east-1"),
            ("s3://recordings/a/b.c/?region=eu-1", "s3://recordings/a/b.c?region=eu-1"),
            (
                "s3://recordings/a?region=eu-1&endpoint=http://127.0.0.1:9000/",
                "s3://recordings/a?region=eu-1&endpoint=http://127.0.0.1:9000",
            ),
        ] {
            let location: Location = text.parse().unwrap();
            assert_eq!(location.to_string(), shown);
            assert_eq!(location.to_string().parse(), Ok(location));
        }
    }

    #[test]
    fn what_is_wrong_is_said_and_no_credential_is_repeated() {
        use LocationError as E;
        for (text, error) in [
            ("", E::Form),
            ("/srv/recordings", E::Form),
            ("gs://bucket", E::Form),
            ("file://srv/recordings", E::Folder),
            ("file:///", E::Folder),
            ("file:///srv?region=a", E::Parameter("region".into())),
            ("s3://AKIASECRET:hunter2@bucket", E::Credentials),
            ("s3://ab", E::Bucket),
            ("s3://under_score", E::Bucket),
            ("s3://bucket/a//b", E::Prefix),
            ("s3://bucket/a%2f..", E::Prefix),
            ("s3://bucket?region=", E::Region),
            ("s3://bucket?secret_access_key=hunter2", E::Parameter("secret_access_key".into())),
            ("s3://bucket?hunter2=x", E::Parameter("?".into())),
            ("s3://bucket?endpoint=ftp://a", E::Endpoint),
            ("s3://bucket?endpoint=http://u:hunter2@a", E::Endpoint),
            ("s3://bucket?endpoint=http://a/path", E::Endpoint),
        ] {
            let refused = text.parse::<Location>().unwrap_err();
            assert_eq!(refused, error, "{text}");
            assert!(!format!("{refused} {refused:?}").contains("hunter2"), "{text}");
        }
    }
}
