/** The suite of container-process.test.ts for containers that a containerd shim runs. */
process.env["DAVIT_TEST_HANDLER"] = "shim";
await import("./container-process.test.ts");

export {};
