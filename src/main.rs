//! drupelet.

mod commands {
    pub(crate) mod doctor;
}
mod doctor;

fn main() -> std::process::ExitCode {
    let (pods, data) = ("/var/log/pods".as_ref(), "/var/lib/drupelet".as_ref());
    match commands::doctor::run(pods, data, &mut std::io::stdout()) {
        Ok(true) => std::process::ExitCode::SUCCESS,
        _ => std::process::ExitCode::FAILURE,
    }
}
