// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/command_line.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <sstream>
#include <vector>

#include "tools/airctl/failure.h"
#include "tools/airctl/since.h"
#include "tools/airctl/trace.h"

namespace airstore::airctl {
namespace {

constexpr char kSystemSocket[] = "/run/airstore/control.sock";

constexpr char kFooter[] =
    "Exit status: 0 done; 1 something failed that should not; 2 wrong use; 3 no such mount,\n"
    "workspace or token; 4 the mount point is in use; 5 not permitted, or the gateway refused the\n"
    "token; 6 broker or gateway not reached; 7 this host lacks something; 8 changes have not\n"
    "reached the gateway; 9 the name is taken; 10 FUSE is not to be had here; 11 NFS is not;\n"
    "12 neither is; 13 FUSE is not, and NFS failed.\n"
    "\n"
    "Tokens come from --token-file or the variable AIRSTORE_TOKEN, never from the command line.";

// Positional arguments as one writes them, instead of "where(1x)".
class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter() = default;
  std::string make_option_name(const CLI::Option* option, bool positional) const override {
    return positional ? "" : CLI::Formatter::make_option_name(option, positional);
  }
  std::string make_option_usage(const CLI::Option* option) const override {
    return option->get_option_text();
  }
};

// "nan" is a number to CLI11, and in every range.
CLI::Validator Between(double least, double most, const std::string& what) {
  return CLI::Validator(
      [=](std::string& text) {
        char* end = nullptr;
        const double value = strtod(text.c_str(), &end);
        const bool number = !text.empty() && *end == '\0' && std::isfinite(value);
        return number && value >= least && value <= most ? "" : "\"" + text + "\" is not " + what;
      },
      "");
}

constexpr double kShortest = 0.001;
constexpr double kLongest = 366.0 * 86400;

// In decimal, also with zeros in front, which CLI11 takes for octal.
std::function<void(const std::string&)> Id(const char* flag, std::optional<uint32_t>& to) {
  return [flag, &to](const std::string& text) {
    uint32_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) {
      throw CLI::ValidationError(flag, "\"" + text + "\" is not a number from 0 to 4294967295");
    }
    to = value;
  };
}

CLI::Validator NotNegative() {
  return CLI::Validator(
      [](std::string& text) {
        return text.empty() || text.front() != '-' ? "" : "\"" + text + "\" is less than 0";
      },
      "");
}

// What is said of a word in place of a command.
std::string UnknownCommand(const CLI::App& app, int argc, const char* const* argv) {
  const CLI::App* at = &app;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--socket") {
      ++i;
    } else if (word.rfind('-', 0) != 0) {
      const auto commands =
          at->get_subcommands([&](const CLI::App* one) { return one->get_name() == word; });
      if (commands.empty()) {
        const bool group = !at->get_subcommands([](const CLI::App*) { return true; }).empty();
        return group ? "there is no command '" + word + "'" : "";
      }
      at = commands.front();
    }
  }
  return "";
}

void AddGateway(CLI::App* command, Invocation& out) {
  command
      ->add_option("--gateway", out.gateway,
                   "Gateway: host:port or unix:/path (default: AIRSTORE_GATEWAY, then the\n"
                   "broker's, which is localhost:1993 when nobody says another one)")
      ->option_text("ADDRESS");
  command
      ->add_option("--token-file", out.token_file,
                   "File of mode 600 with the token, - for stdin (default: AIRSTORE_TOKEN)")
      ->option_text("FILE");
}

CLI::App* Add(CLI::App* parent, const char* name, const char* help, Invocation& out,
              Command command) {
  CLI::App* added = parent->add_subcommand(name, help);
  added->fallthrough();
  if (command != Command::kNone) {
    added->callback([&out, command] { out.command = command; });
  } else {
    added->require_subcommand(1);
  }
  return added;
}

void AddMount(CLI::App* app, Invocation& out) {
  CLI::App* mount = Add(app, "mount", "Mount a workspace on a directory", out, Command::kMount);
  mount->footer("A gateway that is not reached is waited for a few seconds.");
  mount
      ->add_option_function<std::vector<std::string>>(
          "where",
          [&out](const std::vector<std::string>& words) {
            if (words.size() > 2) {
              throw CLI::ValidationError("mount", "takes a workspace and a directory, and no more");
            }
            out.mountpoint = words.back();
            if (words.size() == 2) out.workspace = words.front();
          },
          "Workspace (default: the one the token is for), and the directory (default:\n"
          "/tmp/airstore, which is made)")
      ->option_text("[[WORKSPACE] MOUNTPOINT]")
      ->expected(0, 100);
  AddGateway(mount, out);
  mount
      ->add_option_function<std::string>("--uid", Id("--uid", out.uid),
                                         "Show every file as this user's")
      ->option_text("N");
  mount
      ->add_option_function<std::string>("--gid", Id("--gid", out.gid),
                                         "Show every file as this group's")
      ->option_text("N");
  CLI::Option* root = mount->add_flag("--root-squash", out.root_squash,
                                      "Root of this host is the anonymous user in the mount");
  mount->add_flag("--all-squash", out.all_squash, "Everybody is")->excludes(root);
  mount
      ->add_option_function<std::string>("--anon-uid", Id("--anon-uid", out.anon_uid),
                                         "The anonymous user (default: 65534)")
      ->option_text("N");
  mount
      ->add_option_function<std::string>("--anon-gid", Id("--anon-gid", out.anon_gid),
                                         "The anonymous user's group (default: 65534)")
      ->option_text("N");
  mount->callback([&out] {
    out.command = Command::kMount;
    if ((out.anon_uid || out.anon_gid) && !out.root_squash && !out.all_squash) {
      throw CLI::ValidationError("--anon-uid, --anon-gid", "go with --root-squash or --all-squash");
    }
    if (out.anon_uid == 0u) {
      throw CLI::ValidationError("--anon-uid", "0 is root, who is not anonymous");
    }
  });
  mount->add_flag("--read-only", out.read_only, "Refuse changes");
  mount
      ->add_option("--backend", out.backend,
                   "fuse; nfs; auto: nfs where FUSE is not to be had\n"
                   "(default: AIRSTORE_MOUNT_BACKEND, then auto)")
      ->option_text("KIND")
      ->check(CLI::IsMember({"fuse", "nfs", "auto"}));
  mount->add_flag("--serve-only", out.serve_only,
                  "With --backend nfs: serve it to this host, print how to mount it, and mount\n"
                  "nothing; MOUNTPOINT is then the name of it");
  mount->add_flag("--nfs-auth-none", out.nfs_auth_none,
                  "With NFS: clients may also ask for the root without credentials (AUTH_NONE);\n"
                  "what they do with it still needs them");
  mount
      ->add_option("--passthrough", out.passthrough,
                   "auto: the kernel reads and writes cached files itself where it can; off")
      ->option_text("WHEN")
      ->check(CLI::IsMember({"auto", "off"}));
  mount
      ->add_option("--fsync", out.fsync,
                   "What fsync waits for: gateway: that it has the file (default); local: this\n"
                   "host's disk, while no other host uses the workspace")
      ->option_text("WHERE")
      ->check(CLI::IsMember({"gateway", "local"}));
  mount
      ->add_option("--atime", out.atime,
                   "noatime: reading moves no time of access (default); relatime: it does after a\n"
                   "change, and once a day")
      ->option_text("WHEN")
      ->check(CLI::IsMember({"noatime", "relatime"}));
  mount
      ->add_option("--virtual", out.virtual_nodes,
                   "Tools/, Sources/, Tasks/: auto: those that the gateway has something for, and\n"
                   "the workspace no file of that name; on; off (default: the broker's)")
      ->option_text("WHEN")
      ->check(CLI::IsMember({"auto", "on", "off"}));
  mount
      ->add_option("--compression", out.compression,
                   "The gateway makes shorter what Sources/ say: off, strip, distill or chain\n"
                   "(default: the broker's)")
      ->option_text("HOW")
      ->check(CLI::IsMember({"off", "strip", "distill", "chain"}));
  mount
      ->add_option_function<std::string>(
          "--session", [&out](const std::string& value) { out.access_session = value; },
          "Session under which the gateway records what is read (default: the broker's)")
      ->option_text("ID");
  mount
      ->add_option("--access-log", out.access_log,
                   "Whether the gateway is told what is read: on or off (default: the broker's)")
      ->option_text("WHETHER")
      ->check(CLI::IsMember({"on", "off"}));
  mount->add_flag("--allow-non-empty", out.allow_non_empty,
                  "Mount over a directory that has files in it");
  mount->add_flag("-v,--verbose", out.verbose, "Say what is being done");
}

void AddTrace(CLI::App* app, Invocation& out) {
  CLI::App* trace =
      Add(app, "trace", "Show what a mount is asked, as it happens", out, Command::kTrace);
  trace->add_option("mountpoint", out.mountpoint, "Directory")
      ->option_text("MOUNTPOINT")
      ->required();
  trace
      ->add_option("--slow", out.slow_ms,
                   "Each call to airstored that took as long (default: 50; 0: all of them)")
      ->option_text("MS")
      ->check(Between(0, 1e9, "a time in milliseconds"));
  std::string names;
  for (const std::string& op : TracedOps()) names += (names.empty() ? "" : ", ") + op;
  trace->add_option("--op", out.ops, "Only these: " + names)
      ->option_text("OP...")
      ->delimiter(',')
      ->check([names](const std::string& op) {
        return TracedOps().contains(op) ? "" : "\"" + op + "\" is no operation; there are " + names;
      });
  trace->add_option("--for", out.timeout_seconds, "End after this long (default: at Ctrl-C)")
      ->option_text("SECONDS")
      ->check(Between(kShortest, kLongest, "a time in seconds, above 0"));
}

void AddObservers(CLI::App* app, Invocation& out) {
  CLI::App* stats =
      Add(app, "stats", "Print what mounts did: since they were made, or in intervals", out,
          Command::kStats);
  CLI::App* top =
      Add(app, "top", "Show what mounts do, live (? lists the keys)", out, Command::kTop);
  for (CLI::App* command : {stats, top}) {
    command->add_option("mountpoint", out.mountpoint, "Only of this mount")
        ->option_text("[MOUNTPOINT]");
    command
        ->add_option("--interval", out.interval_seconds,
                     command == stats ? "Print what happens in each interval of so long"
                                      : "Look again after so long (default: 1)")
        ->option_text("SECONDS")
        ->check(Between(0.05, 86400, "a time in seconds, 0.05 at least"));
  }
  stats->add_option("--count", out.count, "Leave after so many intervals")
      ->option_text("N")
      ->needs("--interval")
      ->check(CLI::PositiveNumber);
}

void AddDebug(CLI::App* app, Invocation& out) {
  CLI::App* group = Add(app, "debug", "Look at what a broker has, without asking it; it may hang",
                        out, Command::kNone);
  Add(group, "spool", "Sessions in its state directory, and the room they take", out,
      Command::kDebugSpool);
  Add(group, "journal", "Records of their journals", out, Command::kDebugJournal);
  Add(group, "shm", "Queues and calls of its mounts", out, Command::kDebugShm);
  CLI::App* bundle = Add(group, "bundle",
                         "Pack all of this, status, doctor, configuration and log, without tokens",
                         out, Command::kDebugBundle);
  bundle->add_option("file", out.name, "Archive (default: airstore-bundle.tar.gz)")
      ->option_text("[FILE]");
  for (CLI::App* command : group->get_subcommands({})) {
    command
        ->add_option("--state-dir", out.state_dir,
                     "The broker's state directory (default: of the broker at that socket)")
        ->option_text("DIR");
  }
}

void AddRecover(CLI::App* app, Invocation& out) {
  CLI::App* recover =
      Add(app, "recover", "List what gateways refused for good, export or discard it", out,
          Command::kRecover);
  CLI::Option* save = recover->add_flag("--export", out.export_items,
                                        "Copy the files of these items into the directory DIR");
  CLI::Option* discard =
      recover->add_flag("--discard", out.discard_items, "Remove these items, for good");
  save->excludes(discard);
  recover->add_flag("--all", out.all_items, "All items");
  recover->add_option("items", out.items, "Items by their ids, and where to put their files")
      ->option_text("[ID...] [DIR]");
  // Checked here, so that nothing is done half.
  recover->callback([&out] {
    out.command = Command::kRecover;
    if (out.export_items) {
      if (out.items.empty()) throw CLI::ValidationError("--export", "needs a directory");
      out.directory = out.items.back();
      out.items.pop_back();
    }
    const bool acts = out.export_items || out.discard_items;
    if (!acts && (out.all_items || !out.items.empty())) {
      throw CLI::ValidationError("recover", "say --export or --discard");
    }
    if (acts && out.all_items == !out.items.empty()) {
      throw CLI::ValidationError("recover", "name items, or say --all");
    }
  });
}

void AddWorkspace(CLI::App* app, Invocation& out) {
  CLI::App* group =
      Add(app, "workspace", "Workspaces of a gateway (admin token)", out, Command::kNone);
  CLI::App* create = Add(group, "create", "Create a workspace", out, Command::kWorkspaceCreate);
  CLI::App* list = Add(group, "list", "List workspaces", out, Command::kWorkspaceList);
  CLI::App* remove = Add(group, "delete", "Delete a workspace and all that is in it", out,
                         Command::kWorkspaceDelete);
  CLI::App* set =
      Add(group, "set", "Change the quotas of a workspace", out, Command::kWorkspaceSet);
  for (CLI::App* command : {create, remove, set}) {
    command->add_option("name", out.name, "Name")->option_text("NAME")->required();
  }
  for (CLI::App* command : {create, set}) {
    command
        ->add_option("--quota-bytes", out.quota_bytes,
                     "Bytes of content that it may have, also as 10GiB; 0: any number")
        ->option_text("BYTES")
        ->transform(CLI::AsSizeValue(false))
        ->check(NotNegative());
    command
        ->add_option("--quota-inodes", out.quota_inodes,
                     "Files and directories that it may have; 0: any number")
        ->option_text("N")
        ->check(NotNegative());
  }
  set->callback([&out] {
    out.command = Command::kWorkspaceSet;
    if (!out.quota_bytes && !out.quota_inodes) {
      throw CLI::ValidationError("workspace set", "say --quota-bytes or --quota-inodes");
    }
  });
  for (CLI::App* command : {create, list, remove, set}) AddGateway(command, out);
}

void AddToken(CLI::App* app, Invocation& out) {
  CLI::App* group = Add(app, "token", "Tokens of a gateway (admin token)", out, Command::kNone);
  CLI::App* create =
      Add(group, "create", "Create a token and print its secret, once", out, Command::kTokenCreate);
  create->add_option("workspace", out.workspace, "What it is for")
      ->option_text("WORKSPACE")
      ->required();
  create->add_option("--principal", out.principal, "Whom it stands for (default: your user name)")
      ->option_text("NAME");
  create->add_flag("--read-only", out.read_only, "It may not change anything");
  CLI::App* list = Add(group, "list", "List tokens", out, Command::kTokenList);
  list->add_option("workspace", out.workspace, "Only those of one")->option_text("[WORKSPACE]");
  CLI::App* revoke = Add(group, "revoke", "Revoke a token", out, Command::kTokenRevoke);
  revoke->add_option("id", out.name, "Its id, see 'token list'")->option_text("ID")->required();
  for (CLI::App* command : {create, list, revoke}) AddGateway(command, out);
}

void AddStore(CLI::App* app, Invocation& out) {
  CLI::App* fsck =
      Add(app, "fsck", "Check a gateway's store, and mend it (admin token)", out, Command::kFsck);
  fsck->add_option("workspace", out.workspace, "Only this one; then not what is nobody's")
      ->option_text("[WORKSPACE]");
  fsck->add_flag("--repair", out.repair,
                 "Mend what is found; bytes of blocks that are gone become zeros");
  fsck->add_flag("--quick", out.quick, "Do not read blocks, only ask whether they are there");
  CLI::App* gc = Add(app, "gc", "Delete what no file of a gateway's store needs (admin token)", out,
                     Command::kGc);
  for (CLI::App* command : {fsck, gc}) {
    AddGateway(command, out);
    command->add_flag("-v,--verbose", out.verbose, "Say what is being done");
  }
}

void AddGatewayCommands(CLI::App* app, Invocation& out) {
  CLI::App* group = Add(app, "gateway", "Gateways that mounts use", out, Command::kNone);
  CLI::App* status = Add(group, "status",
                         "Show which gateways answer, which are in use, and what they promise "
                         "(more with the admin token)",
                         out, Command::kGatewayStatus);
  AddGateway(status, out);
}

void AddAccessLog(CLI::App* app, Invocation& out) {
  CLI::App* log = Add(app, "access-log", "Show what mounts have read of a workspace (admin token)",
                      out, Command::kAccessLog);
  log->add_option("workspace", out.workspace, "Its name")->option_text("WORKSPACE")->required();
  log->add_option("--path", out.path, "Only this file, or what is below this directory")
      ->option_text("PATH");
  log->add_option_function<std::string>(
         "--since",
         [&out](const std::string& text) {
           const auto now = std::chrono::system_clock::now().time_since_epoch();
           const auto since =
               ParseSince(text, std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
           if (!since) {
             throw CLI::ValidationError("--since",
                                        "like 10m, 2h, 3d, 2026-01-31 or "
                                        "2026-01-31T12:00:00Z");
           }
           out.since_ms = *since;
         },
         "Not before: so long ago (10m, 2h, 3d), a day (UTC), or a time in UTC")
      ->option_text("T");
  log->add_option("--limit", out.limit, "The newest ones only (default: 1000)")
      ->option_text("N")
      ->check(CLI::Range(uint32_t{1}, uint32_t{5000}));
  AddGateway(log, out);
}

}  // namespace

std::string DefaultSocket(const GetEnv& getenv) {
  if (geteuid() == 0) return kSystemSocket;
  const char* runtime = getenv("XDG_RUNTIME_DIR");
  if (runtime != nullptr && *runtime != '\0') {
    std::string own = std::string(runtime) + "/airstore/control.sock";
    if (access(own.c_str(), F_OK) == 0) return own;
  }
  return kSystemSocket;
}

std::shared_ptr<CLI::App> MakeParser(Invocation& out) {
  auto app =
      std::make_shared<CLI::App>("airctl: mounts workspaces and shows what they do.", "airctl");
  app->formatter(std::make_shared<HelpFormatter>());
  app->require_subcommand(1);
  app->set_version_flag("--version", "airctl " AIRSTORE_VERSION);
  app->add_option("--socket", out.socket, "The broker's socket (default: AIRSTORE_SOCKET)")
      ->option_text("PATH");
  app->add_flag("--json", out.json, "Print JSON, errors too");

  AddMount(app.get(), out);
  CLI::App* unmount = Add(app.get(), "unmount", "Unmount, once every change is at the gateway", out,
                          Command::kUnmount);
  unmount->add_option("mountpoint", out.mountpoint, "Directory")
      ->option_text("MOUNTPOINT")
      ->required();
  unmount->add_flag("--force", out.force,
                    "Detach although in use, unsent or stale; the broker keeps what is unsent");
  unmount->add_flag("-v,--verbose", out.verbose, "Say what is being done");
  CLI::App* status =
      Add(app.get(), "status", "Show the broker, its mounts and sessions", out, Command::kStatus);
  status->add_option("mountpoint", out.mountpoint, "Details of one mount")
      ->option_text("[MOUNTPOINT]");
  CLI::App* dirty = Add(app.get(), "dirty", "List files with changes that are not at the gateway",
                        out, Command::kDirty);
  CLI::App* flush =
      Add(app.get(), "flush", "Wait until every change is at the gateway", out, Command::kFlush);
  for (CLI::App* command : {dirty, flush}) {
    command->add_option("mountpoint", out.mountpoint, "Only of this mount's workspace")
        ->option_text("[MOUNTPOINT]");
  }
  flush->add_option("--timeout", out.timeout_seconds, "Give up after this long (default: never)")
      ->option_text("SECONDS")
      ->check(Between(kShortest, kLongest, "a time in seconds, above 0"));
  CLI::App* upgrade = Add(app.get(), "upgrade",
                          "Replace the broker by another one; mounts and programs do not notice",
                          out, Command::kUpgrade);
  upgrade
      ->add_option(
          "--binary", out.program,
          "The airstored to go on with (default: the file that the broker was started from)")
      ->option_text("PATH");
  AddTrace(app.get(), out);
  AddRecover(app.get(), out);
  AddObservers(app.get(), out);
  CLI::App* warm =
      Add(app.get(), "warm", "Read a tree once, so that it is on this host when needed", out,
          Command::kWarm);
  warm->add_option("path", out.mountpoint, "Directory or file in a mount")
      ->option_text("PATH")
      ->required();
  warm->add_flag("-v,--verbose", out.verbose, "Say what is being done");
  CLI::App* evict =
      Add(app.get(), "evict", "Give up what this host has cached of a tree; unsent changes stay",
          out, Command::kEvict);
  evict->add_option("path", out.mountpoint, "Mount, or directory or file in one")
      ->option_text("PATH")
      ->required();
  CLI::App* login = Add(app.get(), "login", "Keep the token of a workspace, for mounts to come",
                        out, Command::kLogin);
  login->add_option("workspace", out.workspace, "What it is for")
      ->option_text("WORKSPACE")
      ->required();
  login
      ->add_option("--token-file", out.token_file,
                   "File of mode 600 with the token, - for stdin (default: AIRSTORE_TOKEN)")
      ->option_text("FILE");
  AddDebug(app.get(), out);
  Add(app.get(), "doctor", "Say what this host can mount with, and what would mend the rest", out,
      Command::kDoctor);
  AddWorkspace(app.get(), out);
  AddToken(app.get(), out);
  AddAccessLog(app.get(), out);
  AddStore(app.get(), out);
  AddGatewayCommands(app.get(), out);
  Add(app.get(), "schema", "Print the JSON schema of what --json prints", out, Command::kSchema);
  Add(app.get(), "version", "Show the versions of airctl and of the broker", out,
      Command::kVersion);
  CLI::App* completion =
      Add(app.get(), "completion", "Print a shell's completion script", out, Command::kCompletion);
  completion->add_option("shell", out.name, "bash, zsh or fish")
      ->option_text("SHELL")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  app->footer(kFooter);
  return app;
}

Parsed ParseCommandLine(int argc, const char* const* argv, const GetEnv& getenv) {
  Parsed parsed;
  Invocation invocation;
  const auto app = MakeParser(invocation);
  try {
    app->parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {
      std::ostringstream out;
      app->exit(error, out, out);
      parsed.text = out.str();
      return parsed;
    }
    const std::string unknown = UnknownCommand(*app, argc, argv);
    const Failure failure{control::v1::FAILURE_KIND_USAGE, unknown.empty() ? error.what() : unknown,
                          "see 'airctl --help'"};
    // The flag may stand behind what could not be understood.
    bool json = false;
    for (int i = 1; i < argc; ++i) json |= std::string(argv[i]) == "--json";
    std::ostringstream out;
    PrintFailure(out, failure, json);
    parsed.exit_code = ExitCode(failure.kind);
    parsed.text = out.str();
    return parsed;
  }
  const auto from_environment = [&getenv](const char* name) {
    const char* value = getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  if (invocation.socket.empty()) invocation.socket = from_environment("AIRSTORE_SOCKET");
  if (invocation.socket.empty()) invocation.socket = DefaultSocket(getenv);
  if (invocation.gateway.empty()) invocation.gateway = from_environment("AIRSTORE_GATEWAY");
  if (invocation.backend.empty()) invocation.backend = from_environment("AIRSTORE_MOUNT_BACKEND");
  parsed.invocation = std::move(invocation);
  return parsed;
}

}  // namespace airstore::airctl
