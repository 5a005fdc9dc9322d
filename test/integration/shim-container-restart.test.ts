/** The suite of container-restart.test.ts for containers that a containerd shim runs. */
process.env["DAVIT_TEST_HANDLER"] = "shim";
await import("./container-restart.test.ts");

export {};
