//! A protocol of one's own: two nodes on loopback that greet each other.
//!
//! Run it with `cargo run --package eth-devp2p --example protocol`.

use std::{error::Error, net::Ipv4Addr};

use devp2p::{
    Node, StartError,
    identity::NodeKey,
    rlpx::{MessageStream, Protocol, ProtocolPeer, ProtocolVersion, protocol},
};
use tokio::sync::mpsc;

/// Version 1 has one message, with code 0: a greeting.
const VERSIONS: [ProtocolVersion; 1] = [ProtocolVersion { version: 1, message_count: 1 }];

/// A protocol that greets every peer and passes on what it is greeted with.
fn greeting(words: &'static str, heard: mpsc::Sender<String>) -> impl Protocol {
    protocol("greet", VERSIONS, move |peer: ProtocolPeer, mut messages: MessageStream| {
        let heard = heard.clone();
        async move {
            let _ = peer.send(0, rlp::encode(&words).freeze()).await;
            while let Some(message) = messages.next().await {
                let text: String = rlp::decode(&message.payload).unwrap_or_else(|_| "(no text)".to_owned());
                let _ = heard.send(text).await;
            }
        }
    })
}

async fn start(secret: u8, words: &'static str, heard: mpsc::Sender<String>) -> Result<Node, StartError> {
    let key = NodeKey::from_bytes(&[secret; 32]).expect("a small number is a key");
    let builder = Node::builder(key).listen(Ipv4Addr::LOCALHOST.into(), 0).no_discovery();
    builder.protocol(greeting(words, heard)).start().await
}

/// Starts two nodes, lets them greet each other, and gives the greetings as they were heard.
pub(crate) async fn greetings() -> Result<Vec<String>, Box<dyn Error>> {
    let (sender, mut heard) = mpsc::channel(2);
    let alice = start(1, "hello from Alice", sender.clone()).await?;
    let bob = start(2, "hello from Bob", sender).await?;
    bob.add_peer(alice.enode()).await?;
    let greetings = [heard.recv().await, heard.recv().await];
    bob.shutdown().await;
    alice.shutdown().await;
    Ok(greetings.into_iter().flatten().collect())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    for greeting in greetings().await? {
        println!("{greeting}");
    }
    Ok(())
}
