// SPDX-License-Identifier: Apache-2.0
//
// The services that a gateway may keep its store in, as real processes: a Redis server, and an S3
// service that the program s3-server starts, in the directory that AIRSTORE_RIGS names, or
// ../shared/rigs beside the source:
//   s3-server start DIR     writes DIR/env: S3_ENDPOINT, S3_ACCESS_KEY, S3_SECRET_KEY, S3_BUCKET
//   s3-server stop DIR
// Fails how: throws std::runtime_error, which ends the test with that message.
// Threads: the test's.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "tests/e2e/support/process.h"

namespace airstore::e2e {

class S3Server {
 public:
  // The one that ctest has started for all tests of a run; else one of this process, which ends
  // with it. Null: there is none to be had, and `why` says so.
  static S3Server* Get(std::string* why);
  ~S3Server();

  const std::string& endpoint() const { return endpoint_; }  // "http://127.0.0.1:PORT"
  const std::string& bucket() const { return bucket_; }
  const std::string& access_key() const { return access_key_; }
  const std::string& secret_key() const { return secret_key_; }
  // For a gateway: where it finds its keys.
  std::map<std::string, std::string> environment() const;

 private:
  S3Server() = default;

  std::string program_;  // of one that is ours to stop
  std::string directory_;
  std::string endpoint_, bucket_, access_key_, secret_key_;
};

// On a socket in its directory, where it also keeps its files: so it can be killed and started
// again. `always`: every commit is on disk before it is answered.
class RedisServer {
 public:
  explicit RedisServer(const std::string& directory, const Arguments& extra = {});

  void Start();
  void Kill() { process_.Kill(); }
  const std::string& socket() const { return socket_; }
  std::string url() const { return "redis://" + socket_; }
  Process& process() { return process_; }

 private:
  const std::string directory_;
  const Arguments extra_;
  const std::string socket_;
  Process process_;
};

}  // namespace airstore::e2e
