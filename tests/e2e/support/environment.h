// SPDX-License-Identifier: Apache-2.0
//
// What a run of tests is told by its environment. Threads: any.
#pragma once

#include "tests/e2e/support/process.h"

namespace airstore::e2e {

// AIRSTORE_TEST_STORE=scaled: gateways keep their store in Redis and S3.
bool Scaled();
// Of a variable; none where it is not set.
Arguments WordsOf(const char* variable);
// More arguments of all brokers.
inline constexpr const char* kBrokerArguments = "AIRSTORE_E2E_BROKER_ARGUMENTS";

}  // namespace airstore::e2e
