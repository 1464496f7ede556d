// SPDX-License-Identifier: Apache-2.0
//
// A third gateway on the store of a host, where gateways keep it in Redis and S3. It ends with its
// owner. Fails how: throws std::runtime_error. Threads: the test's.
#pragma once

#include <string>

#include "tests/e2e/support/host.h"

namespace airstore::e2e {

// AIRSTORE_TEST_STORE=scaled: gateways keep their store in Redis and S3.
bool Scaled();

class ThirdGateway {
 public:
  // REQUIRES: Scaled(), and that the host's own gateway runs.
  explicit ThirdGateway(const Host& host);
  const std::string& address() const { return address_; }

 private:
  std::string address_;
  Process process_;
};

}  // namespace airstore::e2e
