//! TLS 1.3 with raw public keys (RFC 7250) both ways: the key is the identity,
//! there is no certificate authority and no name.

use std::{
    collections::HashSet,
    sync::{Arc, OnceLock},
};

use ed25519_dalek::{SigningKey, pkcs8::EncodePrivateKey};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key,
    },
    pki_types::{
        CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
    },
    server::{
        AlwaysResolvesServerRawPublicKeys,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    version::TLS13,
};
use samara_wire::PeerId;

/// The protocol and its version (RFC 7301).
pub(crate) const ALPN: &[u8] = b"samara/1";
/// Every client sends the same name: it must not tell an observer who is dialled.
pub(crate) const SERVER_NAME: &str = "samara";

/// DER of an Ed25519 SubjectPublicKeyInfo up to the key (RFC 8410 section 4).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Client and server side for one identity.
pub(crate) struct Configs {
    pub(crate) client: Arc<QuicClientConfig>,
    pub(crate) server: Arc<QuicServerConfig>,
    /// What `client` was made from.
    base: rustls::ClientConfig,
}

/// Makes both sides for one identity.
pub(crate) fn configs(key: &SigningKey) -> Result<Configs, Error> {
    let provider = Arc::new(provider());
    let pkcs8 = key
        .to_pkcs8_der()
        .map_err(|_| Error::General("the identity cannot be encoded".into()))?;
    let signing = aws_lc_rs::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8.as_bytes()))?;
    let mut spki = SPKI_PREFIX.to_vec();
    spki.extend_from_slice(key.verifying_key().as_bytes());
    let own = Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], signing));
    let verifier = Arc::new(AnyPeer {
        algorithms: provider.signature_verification_algorithms,
        refused: HashSet::new(),
        seen: Arc::default(),
    });

    let mut client = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone())
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
            own.clone(),
        )));
    client.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session would not show the peer's key again.
    client.resumption = rustls::client::Resumption::disabled();

    let mut server = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(own)));
    server.alpn_protocols = vec![ALPN.to_vec()];
    server.send_tls13_tickets = 0;

    let quic = |e| Error::General(format!("{e}"));
    Ok(Configs {
        client: Arc::new(QuicClientConfig::try_from(client.clone()).map_err(quic)?),
        server: Arc::new(QuicServerConfig::try_from(server).map_err(quic)?),
        base: client,
    })
}

impl Configs {
    /// A client side for one dial to somebody unknown: the handshake with one of
    /// `refused` breaks off before the other end has a connection, which it would
    /// keep instead of the one that it has. The cell tells which of them it was.
    pub(crate) fn wary(
        &self,
        refused: HashSet<PeerId>,
    ) -> Result<(Arc<QuicClientConfig>, Arc<OnceLock<PeerId>>), Error> {
        let seen = Arc::new(OnceLock::new());
        let mut client = self.base.clone();
        client
            .dangerous()
            .set_certificate_verifier(Arc::new(AnyPeer {
                algorithms: provider().signature_verification_algorithms,
                refused,
                seen: seen.clone(),
            }));
        let client = QuicClientConfig::try_from(client);
        let client = client.map_err(|e| Error::General(format!("{e}")))?;
        Ok((Arc::new(client), seen))
    }
}

/// Who is at the other end of an established connection.
pub(crate) fn remote_peer(connection: &quinn::Connection) -> Option<PeerId> {
    let chain = connection
        .peer_identity()?
        .downcast::<Vec<CertificateDer<'static>>>()
        .ok()?;
    peer_of_spki(chain.first()?).ok()
}

/// AES-128-GCM first: the fastest on every CPU with AES instructions. X25519 for
/// the key exchange.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![
        aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
        aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    provider
}

fn peer_of_spki(spki: &[u8]) -> Result<PeerId, Error> {
    spki.strip_prefix(&SPKI_PREFIX)
        .and_then(|key| key.try_into().ok())
        .map(PeerId)
        .ok_or(Error::InvalidCertificate(
            rustls::CertificateError::BadEncoding,
        ))
}

/// Accepts whoever proves to hold an Ed25519 key. Whether it is the right one is
/// asked after the handshake, when the key is the peer's name.
#[derive(Debug)]
struct AnyPeer {
    algorithms: WebPkiSupportedAlgorithms,
    /// But not these, where this end dials.
    refused: HashSet<PeerId>,
    /// Who of them proved to be at the other end.
    seen: Arc<OnceLock<PeerId>>,
}

impl AnyPeer {
    fn verify(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if signature.scheme != SignatureScheme::ED25519 {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        verify_tls13_signature_with_raw_key(
            message,
            &SubjectPublicKeyInfoDer::from(spki.as_ref()),
            signature,
            &self.algorithms,
        )
    }
}

impl ServerCertVerifier for AnyPeer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        peer_of_spki(end_entity).map(|_| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let proved = self.verify(message, cert, dss)?;
        let peer = peer_of_spki(cert)?;
        if self.refused.contains(&peer) {
            let _ = self.seen.set(peer);
            return Err(rustls::CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(proved)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for AnyPeer {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        peer_of_spki(end_entity).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
