package cli

// Relaxed is relaxed, for the fuzz test.
var Relaxed = relaxed
