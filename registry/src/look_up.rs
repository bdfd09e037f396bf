//! What addresses a name stands for.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::oneshot;

/// Asks the system, on a thread that nobody waits for: a question cannot be interrupted.
///
/// Where no thread is to be had, the network thread asks, and other transfers wait until it
/// knows. tokio's own threads for that end the process then.
pub(crate) struct LookUp;

impl Resolve for LookUp {
    fn resolve(&self, name: Name) -> Resolving {
        let (sender, answer) = oneshot::channel();
        let host = name.as_str().to_owned();
        let asking = std::thread::Builder::new().spawn(move || {
            // Nobody may be waiting any more.
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
    // Whoever connects puts the port in.
    Ok((host, 0).to_socket_addrs()?.collect())
}
