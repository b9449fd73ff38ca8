// Package archtest checks the structure of this module: which package may import
// what, that packages and exported names are documented, and that no package
// outside the command keeps state, reads the environment or prints.
//
// The rules are those of docs/architecture.md. There is no list of exceptions: a
// rule that needs one is changed, here and there. Taste and size are not judged.
// The tables are in rules.go, the checks in check.go; start with the tables.
package archtest
