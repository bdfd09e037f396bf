//! What addresses a name stands for.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::oneshot;

/// Asks the system, on a thread that is left alone when a request ends: a question cannot be
/// interrupted.
///
/// Where the process may start no thread, the network thread asks, and other transfers wait until
/// it knows. tokio's own threads for that end the process then.
pub(crate) struct LookUp;

impl Resolve for LookUp {
    fn resolve(&self, name: Name) -> Resolving {
        let (sender, answer) = oneshot::channel();
        let host = name.as_str().to_owned();
        let asking = std::thread::Builder::new().spawn(move || {
            // It fails if the request has ended meanwhile.
            let _ = sender.send(ask(&host));
        });
        Box::pin(async move {
            let addresses = match asking {
                Ok(_) => answer.await?,
                Err(_) => ask(name.as_str()),
            };
            Ok(Box::new(addresses?.into_iter()) as Addrs)
        })
    }
}

fn ask(host: &str) -> io::Result<Vec<SocketAddr>> {
    // reqwest puts the port in when it connects.
    Ok((host, 0).to_socket_addrs()?.collect())
}
