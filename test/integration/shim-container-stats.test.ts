/** The suite of container-stats.test.ts for containers that a containerd shim runs. */
process.env["DAVIT_TEST_HANDLER"] = "shim";
await import("./container-stats.test.ts");

export {};
