//! The one list of protocols.

pub mod postgres;

use std::sync::Arc;

use crate::core::Core;
use crate::outside::Connection;

/// Serves one accepted connection to its end.
pub async fn serve(connection: Connection, core: Arc<Core>) {
    // Each protocol has one arm; the target says which it is.
    postgres::session::serve(connection, core).await;
}
