/** The suite of container-mounts.test.ts for containers that a containerd shim runs. */
process.env["DAVIT_TEST_HANDLER"] = "shim";
await import("./container-mounts.test.ts");

export {};
