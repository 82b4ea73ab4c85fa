//! Whole runs against small servers in this process, on ports that the system gives.

#[cfg(test)]
mod cases;
#[cfg(test)]
mod server;
