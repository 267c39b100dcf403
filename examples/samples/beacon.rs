use std::thread;
use std::time::Duration;

/// A light that flashes with a fixed rhythm.
struct Beacon {
    name: String,
    flashes: u32,
    period: Duration,
}

impl Beacon {
    fn new(name: &str, flashes: u32, seconds: u64) -> Self {
        Beacon { name: name.to_string(), flashes, period: Duration::from_secs(seconds) }
    }

    fn run(&self) -> Result<(), String> {
        for n in 1..=self.flashes {
            println!("{}: flash {}", self.name, n);
        }
        thread::sleep(self.period);
        Ok(())
    }
}

fn main() {
    let beacon = Beacon::new("Lighthouse", 3, 12);
    if let Err(reason) = beacon.run() {
        eprintln!("dark: {reason}");
    }
}
