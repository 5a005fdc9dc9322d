/** The suite of container.test.ts for a daemon without its performance measures. */
process.env["DAVIT_TEST_TUNING"] = "off";
await import("./container.test.ts");

export {};
