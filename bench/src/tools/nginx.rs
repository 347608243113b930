//! nginx (sendfile) and curl, plain and over TLS 1.3: what a link carries when nobody hashes and nobody shares.

use std::{fs, path::PathBuf};

use super::{Job, Kind, Node, Sign, Tool, binary, first_line};
use crate::{
    content::write_lines,
    error::{Context, Result},
    process::{Launch, helper},
};

const PORT: u16 = 8080;

pub(super) struct Nginx {
    nginx: PathBuf,
    curl: PathBuf,
    /// openssl, which makes the certificate; `None` is plain HTTP.
    tls: Option<PathBuf>,
    version: String,
}

impl Nginx {
    pub(super) fn find(tls: bool) -> Result<Box<dyn Tool>> {
        let (nginx, curl) = (binary("nginx")?, binary("curl")?);
        let tls = tls.then(|| binary("openssl")).transpose()?;
        let server = first_line(&nginx, &["-v"])?;
        let client = first_line(&curl, &["--version"])?;
        let cipher = if tls.is_some() {
            ", TLS 1.3 AES-128-GCM"
        } else {
            ""
        };
        let version = format!(
            "{} + {}{cipher}",
            server.trim_start_matches("nginx version: "),
            client.split(" (").next().unwrap_or_default()
        );
        Ok(Box::new(Self {
            nginx,
            curl,
            tls,
            version,
        }))
    }

    /// A fresh key and certificate in the node's folder, and the lines that use them.
    fn certificate(&self, node: &Node) -> Result<String> {
        let Some(openssl) = &self.tls else {
            return Ok(String::new());
        };
        let (openssl, dir) = (openssl.to_string_lossy(), node.dir.display());
        helper(&[
            &openssl,
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=bench",
            "-days",
            "30",
            "-keyout",
            &format!("{dir}/key.pem"),
            "-out",
            &format!("{dir}/certificate.pem"),
        ])?;
        // Kernel TLS is asked for and used only where the kernel has it.
        Ok(format!(
            "ssl_certificate {dir}/certificate.pem; ssl_certificate_key {dir}/key.pem; ssl_protocols TLSv1.3; \
             ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256; ssl_conf_command Options KTLS;"
        ))
    }
}

impl Tool for Nginx {
    fn name(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    fn kind(&self) -> Kind {
        Kind::Ceiling
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn is_swarm(&self) -> bool {
        false
    }

    fn send(&self, job: &Job<'_>, node: &Node) -> Result<(Launch, Sign)> {
        let (dir, tls) = (node.dir.display(), self.certificate(node)?);
        let root = job
            .content
            .path
            .parent()
            .unwrap_or(&job.content.path)
            .display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {dir}/{kind};"))
            .concat();
        let listen = format!(
            "{}:{PORT}{}",
            node.address,
            if tls.is_empty() { "" } else { " ssl" }
        );
        let config = node.dir.join("nginx.conf");
        let text = format!(
            "user root; worker_processes 1; daemon off; pid {dir}/pid; error_log stderr;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;\n\
             open_file_cache max=20000; {temporary}\n\
             server {{ listen {listen}; {tls} root {root}; }} }}\n"
        );
        fs::write(&config, text).on("writing", &config)?;
        let launch = Launch::new([&self.nginx])
            .arg("-p")
            .arg(&node.dir)
            .arg("-c")
            .arg(&config);
        Ok((launch, Sign::File(node.dir.join("pid"))))
    }

    fn receive(&self, job: &Job<'_>, node: &Node, _: Option<&str>) -> Result<(Launch, Sign)> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let base = format!("{scheme}://{}:{PORT}", node.sender);
        let curl = Launch::new([&self.curl]).arg("-sSfk");
        if !job.content.is_tree {
            let name = &job.content.name;
            let launch = curl
                .arg("-o")
                .arg(node.out.join(name))
                .arg(format!("{base}/{name}"));
            return Ok((launch, Sign::Exit));
        }
        let (list, name, out) = (node.dir.join("urls"), &job.content.name, node.out.display());
        let lines = job.content.files.iter().map(|(file, _)| {
            let file = file.display();
            format!("url = \"{base}/{name}/{file}\"\noutput = \"{out}/{name}/{file}\"")
        });
        write_lines(&list, lines)?;
        let parallel = ["-Z", "--parallel-max", "16", "--create-dirs", "-K"];
        Ok((curl.args(parallel).arg(list), Sign::Exit))
    }
}
