// SPDX-License-Identifier: Apache-2.0
//
// A Redis that is found by its sentinels: they are asked for the master's address at each connect,
// so whatever breaks a connection leads to the master of that time.
//
// Threads: any.
// Fails: EAGAIN when no sentinel answers, or none of them knows a server that is master just now.
#pragma once

#include "tools/gateway/meta/redis/redis_connection.h"

namespace airstore::gateway {

// REQUIRES: options.sentinels is not empty
Result<std::unique_ptr<RedisConnection>> OpenMaster(const RedisOptions& options);

}  // namespace airstore::gateway
