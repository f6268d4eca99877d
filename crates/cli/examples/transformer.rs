//! Writes an fp16 transformer with seeded random weights, in a stream. Without
//! options it has the measures of Qwen3-4B, and takes 8 GB:
//!
//! ```text
//! cargo run --release --example transformer -- big.mlpackage
//! ```

#![allow(clippy::print_stdout, reason = "says what it wrote")]

#[path = "../../../fixtures/transformer.rs"]
mod transformer;

use std::path::PathBuf;

use clap::Parser;

#[derive(Debug, Parser)]
struct Options {
    /// The package to write; it must not be there.
    output: PathBuf,
    #[arg(long, default_value_t = 36, value_parser = clap::value_parser!(u64).range(1..=1000))]
    layers: u64,
    #[arg(long, default_value_t = 2560, value_parser = clap::value_parser!(u64).range(1..=65536))]
    width: u64,
    #[arg(long, default_value_t = 9728, value_parser = clap::value_parser!(u64).range(1..=262144))]
    feed_forward: u64,
    /// Heads of queries; a multiple of those of keys.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=1024))]
    heads: u64,
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1024))]
    key_heads: u64,
    /// An even number.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u64).range(2..=1024))]
    head_width: u64,
    #[arg(long, default_value_t = 151_936, value_parser = clap::value_parser!(u64).range(1..=4194304))]
    vocabulary: u64,
    /// Tokens of an input.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u64).range(1..=32768))]
    length: u64,
    /// Give logits, by the weights of the embedding.
    #[arg(long)]
    tied_head: bool,
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    anyhow::ensure!(
        options.heads.is_multiple_of(options.key_heads) && options.head_width.is_multiple_of(2),
        "--heads must be a multiple of --key-heads, and --head-width even"
    );
    let measures = transformer::Measures {
        layers: options.layers,
        width: options.width,
        feed_forward: options.feed_forward,
        heads: options.heads,
        key_heads: options.key_heads,
        head_width: options.head_width,
        vocabulary: options.vocabulary,
        length: options.length,
        tied_head: options.tied_head,
    };
    let bytes = transformer::write(&options.output, &measures, options.seed)?;
    println!("{} with {bytes} bytes of weights", options.output.display());
    Ok(())
}
