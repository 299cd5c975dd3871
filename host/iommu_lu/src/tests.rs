// SPDX-License-Identifier: GPL-2.0

//! What is claimed of the pure files.

mod abi;
mod arrays;
mod entries;
mod fuzz;
mod plan;
