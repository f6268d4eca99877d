//! Opens a model and saves it unchanged; with one argument, only opens it.
use std::error::Error;
use std::time::Instant;

use milwright_package::{Changes, Package, WriteOptions};

#[allow(clippy::print_stdout, reason = "an example's output")]
fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let start = Instant::now();
    let package = Package::open(arguments.next().ok_or("name a model")?)?;
    let spec = package.spec();
    println!(
        "{} version {}, {} bytes",
        spec.kind().name(),
        spec.version(),
        spec.bytes().len()
    );
    let names = spec.weight_file_names()?;
    for name in &names {
        println!("{name}: {} blobs", package.weight_file(name)?.count());
    }
    println!("opened in {:?}", start.elapsed());
    if let Some(out) = arguments.next() {
        let options = WriteOptions {
            force: arguments.next().is_some(),
            ..WriteOptions::default()
        };
        package.save(Changes::default(), out, options)?;
        println!("saved after {:?}", start.elapsed());
    }
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        status
            .lines()
            .filter(|line| line.starts_with("VmHWM"))
            .for_each(|line| println!("{line}"));
    }
    Ok(())
}
