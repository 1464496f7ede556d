// SPDX-License-Identifier: Apache-2.0
#include "tests/e2e/support/host.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>

#include "tests/e2e/support/environment.h"
#include "tests/e2e/support/files.h"
#include "tests/e2e/support/stores.h"

namespace airstore::e2e {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

std::string TextOf(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void WriteSecret(const std::string& path, const std::string& text) {
  const UniqueFd file(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file || write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    throw std::runtime_error("write " + path + ": " + strerror(errno));
  }
}

// The Redis servers of hosts that have one; they go with their host.
std::map<const Host*, std::unique_ptr<RedisServer>> redis_servers;

}  // namespace

Arguments WordsOf(const char* variable) {
  Arguments words;
  const char* text = getenv(variable);
  std::istringstream in(text != nullptr ? text : "");
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

bool Scaled() {
  const char* store = getenv("AIRSTORE_TEST_STORE");
  return store != nullptr && std::string_view(store) == "scaled";
}

std::string WhatIsMissing() {
  std::string why;
  if (Scaled() && S3Server::Get(&why) == nullptr) return why;
  if (geteuid() != 0) return "mounting with passthrough needs root";
  const UniqueFd device(open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (!device) return std::string("/dev/fuse cannot be opened: ") + strerror(errno);
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("CapEff:", 0) != 0) continue;
    constexpr unsigned kSysAdmin = 21;
    if ((std::stoull(line.substr(7), nullptr, 16) >> kSysAdmin & 1) == 0) {
      return "CAP_SYS_ADMIN is missing: mount(2) is not permitted";
    }
  }
  return "";
}

std::string Program(const std::string& name) {
  const char* directory = getenv("AIRSTORE_BIN_DIR");
  return std::string(directory != nullptr ? directory : AIRSTORE_BIN_DIR) + "/" + name;
}

uint64_t EnvOr(const char* name, uint64_t fallback) {
  const char* text = getenv(name);
  return text != nullptr && *text != '\0' ? std::stoull(text) : fallback;
}

Host::Host(HostOptions options)
    : options_(std::move(options)),
      // For all mounts of a run, such as "--passthrough off".
      mount_arguments_(WordsOf("AIRSTORE_E2E_MOUNT_ARGUMENTS")),
      watchdog_(options_.patience, [this] { DumpLogs(); }) {
  StartGateway();
  StartBroker();
}

Host::~Host() {
  const auto* test = testing::UnitTest::GetInstance()->current_test_info();
  if (test != nullptr && test->result()->Failed()) DumpLogs();
  redis_servers.erase(this);
}

void Host::DumpLogs() const {
  for (const char* name :
       {"gateway.log", "gateway-2.log", "gateway-3.log", "broker.log", "other.log"}) {
    if (!std::filesystem::exists(Path(name))) continue;
    constexpr size_t kMost = 16384;
    std::string text = TextOf(Path(name));
    if (text.size() > kMost) text = "..." + text.substr(text.size() - kMost);
    std::cerr << "---- " << name << "\n" << text << "----\n";
  }
  const Finished status = Airctl({"--json", "status"}, {.patience = seconds(5)});
  std::cerr << "---- airctl status\n" << status.All() << "----\n";
}

Finished Host::Airctl(const Arguments& arguments, const RunOptions& options) const {
  Arguments all = {Program("airctl"), "--socket", socket()};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return RunProgram(all, options);
}

nlohmann::json Host::AirctlJson(const Arguments& arguments) const {
  Arguments all = {"--json"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  const Finished finished = Airctl(all);
  if (finished.code != 0) {
    std::string line = "airctl";
    for (const auto& word : arguments) line += " " + word;
    throw std::runtime_error(line + ": " + finished.All());
  }
  return nlohmann::json::parse(finished.out);
}

nlohmann::json Host::MountStatus(const std::string& mountpoint) const {
  const nlohmann::json status = AirctlJson({"status", mountpoint});
  return status.at("mounts").at(0);
}

nlohmann::json Host::SessionStatus(const std::string& workspace) const {
  const nlohmann::json status = Status();
  for (const auto& session : status.at("sessions")) {
    if (session.at("workspace") == workspace) return session;
  }
  throw std::runtime_error("there is no session of workspace " + workspace);
}

std::string Host::CreateWorkspace(const std::string& name) {
  (void)AirctlJson({"workspace", "create", name, "--gateway", gateway_address_, "--token-file",
                    admin_token_file()});
  return CreateToken(name, Path(name + ".token"));
}

std::string Host::CreateToken(const std::string& workspace, const std::string& file,
                              const Arguments& extra) {
  Arguments words = {"token",     "create",         workspace,      "--principal",     "somebody",
                     "--gateway", gateway_address_, "--token-file", admin_token_file()};
  words.insert(words.end(), extra.begin(), extra.end());
  WriteSecret(file, AirctlJson(words).at("secret").get<std::string>() + "\n");
  return file;
}

std::string Host::Mount(const std::string& workspace, const std::string& name,
                        const Arguments& extra) {
  return MountWith(Path(workspace + ".token"), name, extra);
}

std::string Host::MountWith(const std::string& token_file, const std::string& name,
                            const Arguments& extra) {
  const std::string mountpoint = Path(name);
  std::filesystem::create_directories(mountpoint);
  Arguments words = {"mount", mountpoint, "--token-file", token_file};
  words.insert(words.end(), mount_arguments_.begin(), mount_arguments_.end());
  words.insert(words.end(), extra.begin(), extra.end());
  (void)AirctlJson(words);
  return mountpoint;
}

void Host::Unmount(const std::string& mountpoint) { (void)AirctlJson({"unmount", mountpoint}); }

Process Host::StartGatewayNamed(const std::string& name, std::string* address) const {
  const std::string port_file = Path(name + ".port");
  std::filesystem::remove(port_file);
  Arguments words = {
      Program(options_.gateway_program),           "--data",      Path(name), "--listen",
      address->empty() ? "127.0.0.1:0" : *address, "--port-file", port_file};
  words.insert(words.end(), options_.gateway_arguments.begin(), options_.gateway_arguments.end());
  std::map<std::string, std::string> environment = options_.environment;
  if (Scaled() && options_.gateway_program == "airstore-gateway") {
    words.insert(words.end(), {"--metadata", metadata_url(), "--blocks", blocks_url(),
                               "--admin-token-file", admin_token_file()});
    std::string why;
    environment.merge(S3Server::Get(&why)->environment());
  }
  Process started(words, {.env = environment, .output_file = Path(name + ".log")});
  const bool up = WaitUntil(
      seconds(60), [&] { return std::filesystem::exists(port_file) || !started.running(); });
  if (!up || !started.running()) {
    DumpLogs();
    throw std::runtime_error("the gateway did not start");
  }
  // The same one after a restart: the mounts know it.
  *address = "127.0.0.1:" + std::to_string(std::stoi(TextOf(port_file)));
  return started;
}

std::string Host::metadata_url() const {
  auto& redis = redis_servers[this];
  if (!redis) redis = std::make_unique<RedisServer>(Path("redis"));
  return redis->url();
}

std::string Host::blocks_url() const {
  if (options_.block_files) return "file://" + Path("gateway/blocks");
  std::string why;
  const S3Server* s3 = S3Server::Get(&why);
  if (s3 == nullptr) throw std::runtime_error(why);
  // A place of its own for each host: they share the bucket.
  std::string name = directory();
  std::replace(name.begin(), name.end(), '/', '-');
  const std::string& endpoint = options_.s3_endpoint;
  return "s3://" + s3->bucket() + "/" + name +
         "?endpoint=" + (endpoint.empty() ? s3->endpoint() : endpoint);
}

RedisServer* Host::redis() const {
  const auto found = redis_servers.find(this);
  return found == redis_servers.end() ? nullptr : found->second.get();
}

void Host::StartGateway() { gateway_ = StartGatewayNamed("gateway", &gateway_address_); }

void Host::StartGateway(size_t number) {
  if (number == 0) return StartGateway();
  Other& other = others_[number];
  other.process = StartGatewayNamed("gateway-" + std::to_string(number + 1), &other.address);
}

std::string Host::gateway_address(size_t number) const {
  if (!Scaled() || options_.one_gateway || number == 0) return gateway_address_;
  Other& other = others_[number];
  if (other.address.empty()) {
    other.process = StartGatewayNamed("gateway-" + std::to_string(number + 1), &other.address);
  }
  return other.address;
}

std::string Host::gateway_addresses() const {
  if (!Scaled() || options_.one_gateway) return gateway_address_;
  return gateway_address_ + "," + gateway_address(1) + "," + gateway_address(2);
}

void Host::StopGateway() {
  gateway_.Signal(SIGTERM);
  if (!gateway_.Wait(seconds(30))) throw std::runtime_error("the gateway does not stop");
}

void Host::KillGateway() { gateway_.Kill(); }

void Host::FreezeGateway() { gateway_.Signal(SIGSTOP); }

void Host::ThawGateway() { gateway_.Signal(SIGCONT); }

void Host::StartBrokerWith(const Arguments& starter) {
  Arguments words = starter;
  words.insert(words.end(),
               {Program("airstored"), "--state-dir", Path("state"), "--gateway", gateway_address_});
  words.insert(words.end(), options_.broker_arguments.begin(), options_.broker_arguments.end());
  const Arguments more = WordsOf(kBrokerArguments);
  words.insert(words.end(), more.begin(), more.end());
  broker_ = Process(words, {.env = options_.environment, .output_file = Path("broker.log")});
  // Not the socket's file, which may be there before anybody listens.
  const bool up = WaitUntil(seconds(60), [&] {
    return !broker_.running() ||
           (std::filesystem::exists(socket()) && Airctl({"--json", "status"}).code == 0);
  });
  if (!up || !broker_.running()) {
    DumpLogs();
    throw std::runtime_error("the broker did not start");
  }
}

void Host::StopBroker() {
  broker_.Signal(SIGTERM);
  const auto code = broker_.Wait(seconds(90));
  if (!code) throw std::runtime_error("the broker does not stop");
  if (*code != 0) throw std::runtime_error("the broker ended with " + std::to_string(*code));
}

void Host::KillBroker() { broker_.Kill(); }

bool Host::UpgradeBroker(const std::string& program, Finished* said) {
  Arguments words = {"--json", "upgrade"};
  if (!program.empty()) words.insert(words.end(), {"--binary", program});
  *said = Airctl(words);
  const pid_t pid = Status().at("broker").at("pid").get<pid_t>();
  if (pid == broker_.pid()) return false;
  (void)broker_.Wait(seconds(30));
  broker_ = Process::Watching(pid);
  return true;
}

std::vector<pid_t> Host::FrontendPids() const {
  std::vector<pid_t> frontends;
  const nlohmann::json status = Status();
  for (const auto& mount : status.at("mounts")) {
    frontends.push_back(mount.at("frontend_pid").get<pid_t>());
  }
  return frontends;
}

void Host::KillBrokerAndMounts() {
  const std::vector<pid_t> frontends = FrontendPids();
  broker_.Kill();
  for (const pid_t pid : frontends) kill(pid, SIGKILL);
  UnmountAllBelow(directory());
}

void Host::WipeBrokerState() {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(Path("state"))) {
    if (entry.is_regular_file()) MakeMutable(entry.path().string());
  }
  std::filesystem::remove_all(Path("state"));
}

std::string Host::RemountFresh(const std::string& workspace, const std::string& mountpoint,
                               const Arguments& extra) {
  Unmount(mountpoint);
  StopBroker();
  WipeBrokerState();
  StartBroker();
  return Mount(workspace, std::filesystem::path(mountpoint).filename().string(), extra);
}

}  // namespace airstore::e2e
