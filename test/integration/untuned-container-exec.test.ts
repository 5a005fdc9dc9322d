/** The suite of container-exec.test.ts for a daemon without its performance measures. */
process.env["DAVIT_TEST_TUNING"] = "off";
await import("./container-exec.test.ts");

export {};
