/** The suite of container-exec.test.ts for containers that a containerd shim runs. */
process.env["DAVIT_TEST_HANDLER"] = "shim";
await import("./container-exec.test.ts");

export {};
