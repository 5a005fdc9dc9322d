/** The suite of container-security.test.ts for containers that a containerd shim runs. */
process.env["DAVIT_TEST_HANDLER"] = "shim";
await import("./container-security.test.ts");

export {};
