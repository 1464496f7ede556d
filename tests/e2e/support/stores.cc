// SPDX-License-Identifier: Apache-2.0
#include "tests/e2e/support/stores.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "shm/base/fd.h"

namespace airstore::e2e {
namespace {

std::map<std::string, std::string> ReadEnvironment(const std::string& path) {
  std::map<std::string, std::string> values;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const size_t equals = line.find('=');
    if (equals != std::string::npos) values[line.substr(0, equals)] = line.substr(equals + 1);
  }
  return values;
}

bool Listens(const std::string& socket_path) {
  const UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  strncpy(address.sun_path, socket_path.c_str(), sizeof address.sun_path - 1);
  return connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}

}  // namespace

S3Server* S3Server::Get(std::string* why) {
  static std::unique_ptr<S3Server> server;
  if (server) return server.get();
  std::unique_ptr<S3Server> started(new S3Server);
  const char* rigs = getenv("AIRSTORE_RIGS");
  const std::string program = std::string(rigs != nullptr ? rigs : AIRSTORE_RIGS) + "/s3-server";
  if (access(program.c_str(), X_OK) != 0) {
    *why = "no S3 service to start: " + program + " (AIRSTORE_RIGS)";
    return nullptr;
  }
  started->directory_ = AIRSTORE_TEST_S3;
  if (!std::filesystem::exists(started->directory_ + "/env") ||
      RunProgram({program, "status", started->directory_}).code != 0) {
    started->directory_ =
        std::filesystem::temp_directory_path() / ("airstore-s3-" + std::to_string(getpid()));
    const Finished finished =
        RunProgram({program, "start", started->directory_}, {.env = {{"S3_BUCKET", "airstore"}}});
    if (finished.code != 0) {
      std::filesystem::remove_all(started->directory_);
      *why = "the S3 service does not start: " + finished.err;
      return nullptr;
    }
    started->program_ = program;
  }
  auto values = ReadEnvironment(started->directory_ + "/env");
  started->endpoint_ = values["S3_ENDPOINT"];
  started->bucket_ = values["S3_BUCKET"];
  started->access_key_ = values["S3_ACCESS_KEY"];
  started->secret_key_ = values["S3_SECRET_KEY"];
  server = std::move(started);
  return server.get();
}

S3Server::~S3Server() {
  if (program_.empty()) return;
  (void)RunProgram({program_, "stop", directory_});
  std::error_code error;
  std::filesystem::remove_all(directory_, error);
}

std::map<std::string, std::string> S3Server::environment() const {
  return {{"AWS_ACCESS_KEY_ID", access_key_}, {"AWS_SECRET_ACCESS_KEY", secret_key_}};
}

RedisServer::RedisServer(const std::string& directory, const Arguments& extra)
    : directory_(directory), extra_(extra), socket_(directory + "/redis.sock") {
  std::filesystem::create_directories(directory);
  Start();
}

void RedisServer::Start() {
  Arguments words = {"redis-server",
                     "--port",
                     "0",
                     "--unixsocket",
                     socket_,
                     "--dir",
                     directory_,
                     "--appendonly",
                     "yes",
                     "--appendfsync",
                     "always",
                     "--save",
                     ""};
  words.insert(words.end(), extra_.begin(), extra_.end());
  process_ = Process(words, {.output_file = directory_ + "/redis.log"});
  const bool up =
      WaitUntil(std::chrono::seconds(60), [&] { return !process_.running() || Listens(socket_); });
  if (!up || !process_.running()) throw std::runtime_error("redis-server did not start");
}

}  // namespace airstore::e2e
