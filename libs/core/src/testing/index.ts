/** Test helpers shared by every package. @module */
export {};
