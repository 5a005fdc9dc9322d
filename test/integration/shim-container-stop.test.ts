/** The suite of container-stop.test.ts for containers that a containerd shim runs. */
process.env["DAVIT_TEST_HANDLER"] = "shim";
await import("./container-stop.test.ts");

export {};
