/** Imported before containers.ts: the suite runs its containers by a containerd shim. */
process.env["DAVIT_TEST_HANDLER"] = "shim";

export {};
