//! A hit is never wrong, and equal inputs give equal bytes.
//!
//! The randomised test changes a Dockerfile and its context over and over, and compares every
//! incremental build with one that starts from nothing. What it found once is a plain test here.

mod machine; // kiln, as root or as an ordinary user

mod chance; // numbers that look random and come again
mod context; // edits of files
mod dockerfile; // Dockerfiles that are made up
mod world; // all that a build is made of, and its edits

mod cutoff; // what need not be done again
mod random; // thousands of edits
mod reproducible; // the same bytes everywhere
