// SPDX-License-Identifier: Apache-2.0
//
// A gateway for tests: storage as in airstore-gateway, and beside it tools, sources and tasks that
// are files in DATA/services, so that a test changes them by changing files:
//
//   tools/NAME              a program of the gateway
//   sources/I/V/FILE        what an integration's view shows;
//                           .unknown in a view: sizes are not told
//   tasks/ID                first line: status and exit code, then what it has said
//   calls                   what was asked for, a line each
//   broken                  while it exists, these services fail
//   slow                    while it exists, listing a source takes longer than anybody waits
//
// Takes the command line of airstore-gateway as far as tests need it.
#include <airstore/v1/gateway.grpc.pb.h>
#include <airstore/v1/sources.grpc.pb.h>
#include <airstore/v1/tools.grpc.pb.h>
#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <sstream>

#include "shm/base/fd.h"
#include "tools/gateway/admin_service.h"
#include "tools/gateway/gateway.h"
#include "tools/gateway/storage_service.h"

namespace airstore::e2e {
namespace {

namespace fs = std::filesystem;

constexpr int kMostMessage = 16 << 20;

class Services {
 public:
  explicit Services(std::string directory) : directory_(std::move(directory)) {
    for (const char* name : {"tools", "sources", "tasks"}) fs::create_directories(Path(name));
  }

  std::string Path(const std::string& name) const { return directory_ + "/" + name; }
  bool broken() const { return fs::exists(Path("broken")); }
  void Note(const std::string& what) {
    const std::lock_guard lock(mutex_);
    std::ofstream(Path("calls"), std::ios::app) << what << "\n";
  }
  static std::string TextOf(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }

 private:
  const std::string directory_;
  std::mutex mutex_;
};

grpc::Status Broken() { return {grpc::StatusCode::UNAVAILABLE, "broken by the test"}; }

class Tools final : public ::tools::ToolService::Service {
 public:
  explicit Tools(Services& services) : services_(services) {}

  grpc::Status ListTools(grpc::ServerContext*, const ::tools::ListToolsRequest*,
                         ::tools::ListToolsResponse* response) override {
    if (services_.broken()) return Broken();
    response->set_ok(true);
    for (const auto& entry : fs::directory_iterator(services_.Path("tools"))) {
      ::tools::ToolInfo* tool = response->add_tools();
      tool->set_name(entry.path().filename());
      if (entry.path().extension() == ".local") {
        tool->set_local_command(Services::TextOf(entry.path()));
      }
    }
    return grpc::Status::OK;
  }

  grpc::Status GetToolHelp(grpc::ServerContext*, const ::tools::GetToolHelpRequest* request,
                           ::tools::GetToolHelpResponse* response) override {
    response->set_ok(fs::exists(services_.Path("tools/" + request->name())));
    response->set_help("help of " + request->name());
    if (!response->ok()) response->set_error("tool not found");
    return grpc::Status::OK;
  }

  grpc::Status ExecuteTool(grpc::ServerContext* context, const ::tools::ExecuteToolRequest* request,
                           grpc::ServerWriter<::tools::ExecuteToolResponse>* writer) override {
    if (services_.broken()) return Broken();
    ::tools::ExecuteToolResponse last;
    last.set_done(true);
    const std::string program = services_.Path("tools/" + request->name());
    if (!fs::exists(program)) {
      last.set_exit_code(1);
      last.set_error("tool not found");
      writer->Write(last);
      return grpc::Status::OK;
    }
    int out[2];
    int err[2];
    if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0) return Broken();
    std::vector<std::string> words(request->args().begin(), request->args().end());
    words.insert(words.begin(), program);
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    const pid_t child = fork();
    if (child == 0) {
      setpgid(0, 0);
      dup2(out[1], STDOUT_FILENO);
      dup2(err[1], STDERR_FILENO);
      execv(program.c_str(), argv.data());
      _exit(127);
    }
    setpgid(child, child);
    close(out[1]);
    close(err[1]);
    Relay(context, child, UniqueFd(out[0]), UniqueFd(err[0]), writer);
    int status = 0;
    waitpid(child, &status, 0);
    last.set_exit_code(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    if (context->IsCancelled()) services_.Note("cancelled " + request->name());
    writer->Write(last);
    return grpc::Status::OK;
  }

 private:
  static void Relay(grpc::ServerContext* context, pid_t child, UniqueFd out, UniqueFd err,
                    grpc::ServerWriter<::tools::ExecuteToolResponse>* writer) {
    pollfd both[2] = {{out.get(), POLLIN, 0}, {err.get(), POLLIN, 0}};
    while (both[0].fd >= 0 || both[1].fd >= 0) {
      if (poll(both, 2, 20) < 0) break;
      if (context->IsCancelled()) {
        kill(-child, SIGKILL);
        return;
      }
      for (pollfd& one : both) {
        if ((one.revents & (POLLIN | POLLHUP)) == 0) continue;
        char data[65536];
        const ssize_t got = read(one.fd, data, sizeof data);
        if (got <= 0) {
          one.fd = -1;
          continue;
        }
        ::tools::ExecuteToolResponse piece;
        piece.set_stream(&one == both ? ::tools::ExecuteToolResponse::STDOUT
                                      : ::tools::ExecuteToolResponse::STDERR);
        piece.set_data(data, static_cast<size_t>(got));
        writer->Write(piece);
      }
    }
  }

  Services& services_;
};

class Sources final : public ::sources::SourceService::Service {
 public:
  explicit Sources(Services& services) : services_(services) {}

  grpc::Status ReadDir(grpc::ServerContext*, const ::sources::SourceReadDirRequest* request,
                       ::sources::SourceReadDirResponse* response) override {
    if (services_.broken()) return Broken();
    services_.Note("list " + request->path());
    if (fs::exists(services_.Path("slow"))) usleep(1'500'000);
    const std::string path = services_.Path("sources/" + request->path());
    response->set_ok(fs::is_directory(path));
    if (!response->ok()) {
      response->set_error("not found");
      return grpc::Status::OK;
    }
    const bool unknown = fs::exists(path + "/.unknown");
    for (const auto& entry : fs::directory_iterator(path)) {
      const std::string name = entry.path().filename();
      if (name == ".unknown") continue;
      struct stat info {};
      stat(entry.path().c_str(), &info);
      ::sources::SourceDirEntry* out = response->add_entries();
      out->set_name(name);
      out->set_is_dir(S_ISDIR(info.st_mode));
      out->set_mode(info.st_mode);
      if (!S_ISDIR(info.st_mode) && !unknown) out->set_size(info.st_size);
      out->set_mtime(info.st_mtime);
      out->set_result_id(name);
    }
    return grpc::Status::OK;
  }

  grpc::Status Read(grpc::ServerContext*, const ::sources::SourceReadRequest* request,
                    ::sources::SourceReadResponse* response) override {
    if (services_.broken()) return Broken();
    services_.Note("read " + request->path());
    const UniqueFd file(
        open(services_.Path("sources/" + request->path()).c_str(), O_RDONLY | O_CLOEXEC));
    response->set_ok(static_cast<bool>(file));
    if (!file) {
      response->set_error("file not found");
      return grpc::Status::OK;
    }
    std::string data(static_cast<size_t>(request->length()), '\0');
    const ssize_t got = pread(file.get(), data.data(), data.size(), request->offset());
    data.resize(got < 0 ? 0 : static_cast<size_t>(got));
    response->set_data(std::move(data));
    return grpc::Status::OK;
  }

  grpc::Status CreateView(grpc::ServerContext*, const ::sources::CreateViewRequest* request,
                          ::sources::CreateViewResponse* response) override {
    const std::string path = services_.Path("sources/" + request->integration() + "/" +
                                            request->name() + request->file_ext());
    response->set_ok(true);
    if (request->output_format() == "folder") {
      fs::create_directory(path);
      std::ofstream(path + "/.query.as") << "{}";
      std::ofstream(path + "/found.txt") << "made by " << request->name() << "\n";
    } else {
      std::ofstream(path) << "made by " << request->name() << "\n";
    }
    return grpc::Status::OK;
  }

 private:
  Services& services_;
};

class TaskServices final : public ::gateway::GatewayService::Service {
 public:
  explicit TaskServices(Services& services) : services_(services) {}

  grpc::Status ListTasks(grpc::ServerContext*, const ::gateway::ListTasksRequest*,
                         ::gateway::ListTasksResponse* response) override {
    if (services_.broken()) return Broken();
    if (!fs::exists(services_.Path("tasks/enabled"))) {
      return {grpc::StatusCode::UNIMPLEMENTED, "no tasks here"};
    }
    response->set_ok(true);
    for (const auto& entry : fs::directory_iterator(services_.Path("tasks"))) {
      if (entry.path().filename() == "enabled") continue;
      Describe(entry.path().filename(), response->add_tasks());
    }
    return grpc::Status::OK;
  }

  grpc::Status GetTask(grpc::ServerContext*, const ::gateway::GetTaskRequest* request,
                       ::gateway::TaskResponse* response) override {
    response->set_ok(fs::exists(services_.Path("tasks/" + request->id())));
    if (!response->ok()) {
      response->set_error("task not found");
    } else {
      Describe(request->id(), response->mutable_task());
    }
    return grpc::Status::OK;
  }

  grpc::Status GetTaskLogs(grpc::ServerContext*, const ::gateway::GetTaskLogsRequest* request,
                           ::gateway::GetTaskLogsResponse* response) override {
    services_.Note("logs " + request->id());
    response->set_ok(true);
    std::ifstream file(services_.Path("tasks/" + request->id()));
    std::string line;
    std::getline(file, line);
    while (std::getline(file, line)) response->add_logs()->set_data(line);
    return grpc::Status::OK;
  }

 private:
  void Describe(const std::string& id, ::gateway::Task* task) {
    std::istringstream line(Services::TextOf(services_.Path("tasks/" + id)));
    std::string status;
    int code = -1;
    line >> status;
    task->set_id(id);
    task->set_status(status);
    task->set_prompt("say something");
    task->set_created_at("2026-01-02T03:04:05Z");
    if (line >> code && (status == "complete" || status == "failed")) {
      task->set_has_exit_code(true);
      task->set_exit_code(code);
      task->set_finished_at("2026-01-02T03:05:00Z");
    }
  }

  Services& services_;
};

int Main(int argc, char** argv) {
  std::map<std::string, std::string> flags;
  for (int i = 1; i + 1 < argc; i += 2) flags[argv[i]] = argv[i + 1];
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  gateway::GatewayOptions options;
  options.data_dir = flags["--data"];
  if (flags.contains("--session-seconds")) {
    options.session_lifetime = std::chrono::seconds(std::stoi(flags["--session-seconds"]));
  }
  auto opened = gateway::Gateway::Open(options);
  if (!opened) {
    fprintf(stderr, "%s\n", opened.error().ToString().c_str());
    return 1;
  }
  Services services(options.data_dir + "/services");
  gateway::StorageService storage(**opened);
  gateway::AdminService admin(**opened);
  Tools tools(services);
  Sources sources(services);
  TaskServices tasks(services);
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(kMostMessage);
  builder.SetMaxSendMessageSize(kMostMessage);
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 128);
  int port = 0;
  builder.AddListeningPort(flags["--listen"], grpc::InsecureServerCredentials(), &port);
  for (grpc::Service* service :
       std::initializer_list<grpc::Service*>{&storage, &admin, &tools, &sources, &tasks}) {
    builder.RegisterService(service);
  }
  const auto server = builder.BuildAndStart();
  if (!server) return 1;
  const std::string port_file = flags["--port-file"];
  std::ofstream(port_file + ".tmp") << port << "\n";
  fs::rename(port_file + ".tmp", port_file);
  int number = 0;
  sigwait(&signals, &number);
  server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
  server->Wait();
  return 0;
}

}  // namespace
}  // namespace airstore::e2e

int main(int argc, char** argv) { return airstore::e2e::Main(argc, argv); }
