/** Makes a containerd shim run the containers of a suite. Import it before containers.ts, which reads the variable. */
process.env["DAVIT_TEST_HANDLER"] = "shim";

export {};
