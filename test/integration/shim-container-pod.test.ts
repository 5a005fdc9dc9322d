/** The suite of container-pod.test.ts for containers that a containerd shim runs. */
process.env["DAVIT_TEST_HANDLER"] = "shim";
await import("./container-pod.test.ts");

export {};
