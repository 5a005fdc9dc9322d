/** The suite of container-status.test.ts for containers that a containerd shim runs. */
process.env["DAVIT_TEST_HANDLER"] = "shim";
await import("./container-status.test.ts");

export {};
