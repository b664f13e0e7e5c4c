// Package benchreport is what benchmarks have in common: results in CSV files that only grow,
// sections of a page and drawings that are made from them, the machine they were measured on, and
// what a process uses. What to measure, and how, is not its business.
package benchreport
