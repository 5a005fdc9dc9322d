/** The suite of streaming-exec.test.ts for containers that a containerd shim runs. */
process.env["DAVIT_TEST_HANDLER"] = "shim";
await import("./streaming-exec.test.ts");

export {};
