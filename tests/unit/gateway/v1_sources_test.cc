// SPDX-License-Identifier: Apache-2.0
//
// v1: sources. A real maildir and a real git repository, through a real server.
#include <filesystem>
#include <fstream>
#include <set>

#include "airstore/v1/sources.pb.h"
#include "tests/unit/gateway/v1_bench.h"
#include "tools/gateway/sources/mail_headers.h"
#include "tools/gateway/sources/provider.h"

namespace airstore::gateway {
namespace {

namespace fs = std::filesystem;

class V1Sources : public V1Bench {
 protected:
  V1Sources() {
    mail_ = directory_.path() + "/mail";
    repo_ = directory_.path() + "/repo";
    Config& config = server_options_.config;
    config.sources.push_back({{"mail", "maildir", mail_, "My mail"}, {}});
    config.sources.push_back({{"code", "git", repo_, ""}, {}});
    config.sources.push_back({{"gone", "maildir", directory_.path() + "/nowhere", ""}, {}});
    config.sources.push_back({{"theirs", "maildir", mail_, ""}, {"other"}});
    for (const char* sub : {"/cur", "/new", "/tmp", "/.Sent/cur", "/.Sent/new"}) {
      fs::create_directories(mail_ + sub);
    }
    AddMail("new/1.a", "Alice <alice@example.org>", "Quarterly report",
            "Sat, 31 Jan 2026 12:00:00 +0100", "first\n");
    AddMail("cur/2.b:2,S", "Bob <bob@example.org>", "=?UTF-8?B?w4RyZ2Vy?= again",
            "1 Feb 2026 08:00 +0000", std::string(100'000, 'b'));
    AddMail("cur/3.c:2,FS", "=?iso-8859-1?Q?J=F6rg?= <joerg@example.org>", "report, the second",
            "Mon, 2 Feb 2026 09:30:00 -0500", "third\n");
    AddMail(".Sent/cur/4.d:2,S", "me", "sent", "Tue, 3 Feb 2026 10:00:00 +0000", "x\n");
  }

  void AddMail(const std::string& name, const std::string& from, const std::string& subject,
               const std::string& date, const std::string& body) {
    std::ofstream(mail_ + "/" + name) << "Received: from a\n\tby b\nFrom: " << from
                                      << "\nSubject: " << subject << "\nDate: " << date << "\n\n"
                                      << body;
  }
  void Shell(const std::string& script) {
    ASSERT_EQ(system(("cd '" + directory_.path() + "' && " + script + " >/dev/null 2>&1").c_str()),
              0)
        << script;
  }
  void MakeRepository() {
    Shell(
        "git init -q -b main repo && cd repo && git config user.name Alice && "
        "git config user.email alice@example.org && echo one >f && git add f && "
        "git commit -qm 'first: a/b' && echo two >>f && git commit -qam second && "
        "git tag v1 && git checkout -qb topic/x && echo three >>f && "
        "git commit -qam third --author='Bob <bob@example.org>' && git checkout -q main");
  }

#define AIRSTORE_SOURCE_CALL(name, Message)                                            \
  ::sources::Message##Response name(const ::sources::Message##Request& request,        \
                                    std::map<std::string, std::string> headers = {}) { \
    ::sources::Message##Response response;                                             \
    told_ = Call("/sources.SourceService/" #name, request, &response, headers);        \
    EXPECT_TRUE(told_.status.ok()) << told_.status.error_message();                    \
    EXPECT_EQ(response.ok(), response.error().empty()) << response.error();            \
    return response;                                                                   \
  }
  AIRSTORE_SOURCE_CALL(Stat, SourceStat)
  AIRSTORE_SOURCE_CALL(ReadDir, SourceReadDir)
  AIRSTORE_SOURCE_CALL(Read, SourceRead)
  AIRSTORE_SOURCE_CALL(CreateView, CreateView)
  AIRSTORE_SOURCE_CALL(GetView, GetView)
  AIRSTORE_SOURCE_CALL(ListViews, ListViews)
  AIRSTORE_SOURCE_CALL(DeleteView, DeleteView)
  AIRSTORE_SOURCE_CALL(UpdateView, UpdateView)
  AIRSTORE_SOURCE_CALL(ExecuteView, ExecuteView)
  AIRSTORE_SOURCE_CALL(SyncView, SyncView)
  AIRSTORE_SOURCE_CALL(ListResources, ListResources)
  AIRSTORE_SOURCE_CALL(CreateSmartQuery, CreateView)
  AIRSTORE_SOURCE_CALL(GetSmartQuery, GetView)
  AIRSTORE_SOURCE_CALL(ExecuteSmartQuery, ExecuteView)
#undef AIRSTORE_SOURCE_CALL

  ::sources::CreateViewResponse View(const std::string& integration, const std::string& name,
                                     const std::string& filter, const std::string& ext = "") {
    ::sources::CreateViewRequest request;
    request.set_integration(integration);
    request.set_name(name);
    request.set_filter(filter);
    request.set_output_format(ext.empty() ? "folder" : "file");
    request.set_file_ext(ext);
    return CreateView(request);
  }
  std::map<std::string, ::sources::SourceDirEntry> Listing(const std::string& path,
                                                           std::string* error = nullptr) {
    ::sources::SourceReadDirRequest request;
    request.set_path(path);
    const auto response = ReadDir(request);
    if (error != nullptr) *error = response.error();
    std::map<std::string, ::sources::SourceDirEntry> entries;
    for (const auto& entry : response.entries()) entries[entry.name()] = entry;
    EXPECT_EQ(entries.size(), static_cast<size_t>(response.entries_size()));
    return entries;
  }
  std::string Content(const std::string& path, int64_t offset = 0, int64_t length = 0) {
    ::sources::SourceReadRequest request;
    request.set_path(path);
    request.set_offset(offset);
    request.set_length(length);
    const auto response = Read(request);
    return response.ok() ? response.data() : "error: " + response.error();
  }
  int64_t Size(const std::string& path) {
    ::sources::SourceStatRequest request;
    request.set_path(path);
    const auto response = Stat(request);
    return response.ok() ? response.info().size() : -1;
  }
  // What a listing says, a stat says, and there is are one.
  void ExpectTrueSizes(const std::string& folder) {
    for (const auto& [name, entry] : Listing(folder)) {
      if (entry.is_dir()) continue;
      const std::string content = Content(folder + "/" + name);
      EXPECT_EQ(entry.size(), static_cast<int64_t>(content.size())) << name;
      EXPECT_EQ(Size(folder + "/" + name), static_cast<int64_t>(content.size())) << name;
    }
  }
  std::set<std::string> Subjects(const std::string& view) {
    std::set<std::string> subjects;
    for (const auto& [name, entry] : Listing("mail/" + view)) {
      if (name.front() == '.') continue;
      const size_t at = name.find('_', name.find('_') + 1);
      subjects.insert(entry.result_id().substr(entry.result_id().find('/') + 1));
      EXPECT_NE(at, std::string::npos);
    }
    return subjects;
  }

  std::string mail_, repo_;
  Told told_;
};

using Ids = std::set<std::string>;

TEST_F(V1Sources, TheRootShowsWhatIsForTheWorkspace) {
  const auto root = Listing("");
  EXPECT_EQ(root.size(), 3u);
  EXPECT_TRUE(root.contains("mail"));
  EXPECT_TRUE(root.at("mail").is_dir());
  EXPECT_FALSE(root.contains("theirs"));
  std::string error;
  EXPECT_TRUE(Listing("theirs", &error).empty());
  EXPECT_EQ(error, "integration not found");
  EXPECT_NE(Content("mail/README.md").find("| Connected | Yes |"), std::string::npos);
  EXPECT_EQ(Content("mail/README.md").find("# My mail\n"), 0u);
  EXPECT_NE(Content("gone/README.md").find("| Connected | No |"), std::string::npos);
  EXPECT_EQ(Content("mail"), "error: is a directory");
  EXPECT_EQ(Content("mail/nothing"), "error: file not found");
  EXPECT_EQ(Content("mail/nothing/x"), "error: query not found");
  ::sources::SourceStatRequest anonymous;
  EXPECT_EQ(Stat(anonymous, {{"authorization", ""}}).error(), "unauthorized");
}

TEST_F(V1Sources, MailIsFilteredBySenderSubjectDateAndFlags) {
  const auto matches = [&](const std::string& filter) {
    static int n = 0;
    const std::string name = "v" + std::to_string(n++);
    const auto made = View("mail", name, filter);
    EXPECT_TRUE(made.ok()) << made.error();
    return Subjects(name);
  };
  EXPECT_EQ(matches("{}"), Ids({"1.a", "2.b", "3.c"}));
  EXPECT_EQ(matches(R"({"from": "ALICE"})"), Ids({"1.a"}));
  EXPECT_EQ(matches(R"({"from": "jörg"})"), Ids({"3.c"}));
  EXPECT_EQ(matches(R"({"subject": "report"})"), Ids({"1.a", "3.c"}));
  EXPECT_EQ(matches(R"({"subject": "Ärger again"})"), Ids({"2.b"}));
  EXPECT_EQ(matches(R"({"since": "2026-02-01"})"), Ids({"2.b", "3.c"}));
  EXPECT_EQ(matches(R"({"since": "2026-02-01", "before": "2026-02-02"})"), Ids({"2.b"}));
  EXPECT_EQ(matches(R"({"unread": true})"), Ids({"1.a"}));
  EXPECT_EQ(matches(R"({"flagged": true})"), Ids({"3.c"}));
  EXPECT_EQ(matches(R"({"flags": "S", "without_flags": "F"})"), Ids({"2.b"}));
  EXPECT_EQ(matches(R"({"folder": "Sent"})"), Ids({"4.d"}));
  EXPECT_EQ(View("mail", "w", R"({"colour": "red"})").error(), "filter: there is no key 'colour'");
  EXPECT_EQ(View("mail", "w", R"({"since": "soon"})").error(),
            "filter: since: expected YYYY-MM-DD");
  EXPECT_EQ(View("mail", "w", R"({"unread": "yes"})").error(),
            "filter: unread: expected a boolean");
  EXPECT_EQ(View("mail", "w", "[]").error(), "filter: expected a JSON object");
  EXPECT_EQ(View("mail", "v0", "{}").error(), "there is a view of this name");
  EXPECT_EQ(View("none", "w", "{}").error(), "unsupported integration: none");
  EXPECT_EQ(View("mail", "README.md", "{}").error(), "name: cannot be the name of a view");
  EXPECT_EQ(View("mail", "a/b", "{}").error(), "name: cannot be the name of a view");
}

TEST_F(V1Sources, NothingBesideTheMaildirIsRead) {
  for (const char* above : {"cur", "new"}) fs::create_directories(directory_.path() + "/" + above);
  std::ofstream(directory_.path() + "/cur/9.secret") << "From: a\n\nsecret";
  for (const char* folder : {".", "", "..", "./x"}) {
    EXPECT_FALSE(View("mail", "w", std::string(R"({"folder": ")") + folder + "\"}").ok()) << folder;
  }
  fs::create_symlink(directory_.path() + "/cur/9.secret", mail_ + "/cur/9.link");
  fs::create_directory_symlink(directory_.path(), mail_ + "/.Linked");
  ASSERT_TRUE(View("mail", "all", "{}").ok());
  EXPECT_EQ(Subjects("all"), Ids({"1.a", "2.b", "3.c"}));
  ASSERT_TRUE(View("mail", "linked", R"({"folder": "Linked"})").ok());
  std::string error;
  Listing("mail/linked", &error);
  EXPECT_EQ(error, "there is no folder Linked");
  // One that takes the place of a message that is known.
  for (const auto& [name, entry] : Listing("mail/all")) {
    if (entry.result_id() != "INBOX/1.a") continue;
    fs::remove(mail_ + "/new/1.a");
    fs::create_symlink(directory_.path() + "/cur/9.secret", mail_ + "/new/1.a");
    EXPECT_EQ(Content("mail/all/" + name), "error: result not found");
  }
}

TEST_F(V1Sources, ARepositoryRunsNoProgramsHere) {
  MakeRepository();
  const std::string gpg = directory_.path() + "/gpg", ran = directory_.path() + "/ran";
  std::ofstream(gpg) << "#!/bin/sh\ncase \"$*\" in *--verify*) touch " << ran
                     << ";;\n*) cat >/dev/null; echo '[GNUPG:] SIG_CREATED D' >&2\n"
                        "printf -- '-----BEGIN PGP SIGNATURE-----\\n\\nx\\n-----END PGP "
                        "SIGNATURE-----\\n';; esac\n";
  fs::permissions(gpg, fs::perms::owner_all);
  Shell("cd repo && git config gpg.program " + gpg +
        " && git config log.showSignature true && git commit -S -qm signed --allow-empty");
  ASSERT_TRUE(View("code", "log", "{}").ok());
  EXPECT_EQ(Listing("code/log").size(), 4u);
  EXPECT_FALSE(fs::exists(ran));
  Shell("cd repo && git log -1");
  EXPECT_TRUE(fs::exists(ran)) << "the repository does not try";
}

TEST_F(V1Sources, ViewsThatCannotBeReadAreNotReplaced) {
  ASSERT_TRUE(View("mail", "kept", "{}").ok());
  const std::string path = options_.data_dir + "/sources/" + workspace_ + ".json";
  fs::rename(path, path + ".kept");
  fs::create_symlink(path, path);  // ELOOP
  Restart();
  EXPECT_FALSE(View("mail", "other", "{}").ok());
  EXPECT_TRUE(fs::is_symlink(fs::symlink_status(path)));
  fs::rename(path + ".kept", path);
  EXPECT_TRUE(View("mail", "other", "{}").ok());
  EXPECT_TRUE(Listing("mail").contains("kept"));
  ::sources::CreateViewRequest request;
  request.set_integration("mail");
  request.set_name("long");
  request.set_filter("{}");
  request.set_guidance(std::string(5000, 'g'));
  EXPECT_EQ(CreateView(request).error(), "guidance: at most 4096 bytes");
}

TEST_F(V1Sources, ResultsAreTheMessagesAndSizesAreTrue) {
  ASSERT_TRUE(View("mail", "all", "{}").ok());
  const auto listing = Listing("mail/all");
  EXPECT_EQ(listing.size(), 4u);
  EXPECT_EQ(listing.at(".query.as").mode(), 0100444u);
  ExpectTrueSizes("mail/all");
  ExpectTrueSizes("mail");
  for (const auto& [name, entry] : listing) {
    if (entry.result_id() != "INBOX/2.b") continue;
    EXPECT_EQ(name.find("2026-02-01_Bob_bob@example.org_Ärger_again_"), 0u) << name;
    std::ifstream file(mail_ + "/cur/2.b:2,S");
    const std::string whole((std::istreambuf_iterator<char>(file)), {});
    EXPECT_EQ(Content("mail/all/" + name), whole);
    EXPECT_EQ(Content("mail/all/" + name, 100'000, 50), whole.substr(100'000, 50));
    EXPECT_EQ(Content("mail/all/" + name, 1'000'000), "");
    ::sources::SourceReadRequest read;
    read.set_path("mail/all/" + name);
    const auto stripped = Read(read, {{"x-airstore-compression", "strip"}});
    EXPECT_EQ(stripped.data().find("Received:"), std::string::npos) << stripped.data();
    EXPECT_LT(stripped.data().size(), whole.size());
    const auto& hint = stripped.cost_hint();
    EXPECT_EQ(hint.integration(), "mail");
    EXPECT_EQ(hint.source_uri(), "mail://INBOX/2.b");
    EXPECT_EQ(hint.query_path(), "/Sources/mail/all");
    EXPECT_EQ(hint.outcome(), "compressed");
    EXPECT_EQ(hint.strategy(), "strip");
    EXPECT_EQ(hint.original_bytes(), static_cast<int64_t>(whole.size()));
    EXPECT_EQ(hint.compressed_bytes(), static_cast<int64_t>(stripped.data().size()));
    const auto again = Read(read, {{"x-airstore-compression", "strip"}});
    EXPECT_EQ(again.data(), stripped.data());
    EXPECT_EQ(again.cost_hint().outcome(), "cache_hit");
    // There is no program here that distills.
    const auto distilled = Read(read, {{"x-airstore-compression", "distill"}});
    EXPECT_EQ(distilled.data(), whole);
    EXPECT_EQ(distilled.cost_hint().outcome(), "skipped");
    // Read somewhere else meanwhile: another name of the same message.
    fs::rename(mail_ + "/cur/2.b:2,S", mail_ + "/cur/2.b:2,RS");
    EXPECT_EQ(Content("mail/all/" + name), whole);
  }
  const auto code = Listing("mail");
  EXPECT_EQ(code.at("all").child_count(), 4);
}

TEST_F(V1Sources, ContentIsNotLimitedByMessages) {
  AddMail("cur/5.e:2,", "big", "big", "Tue, 3 Feb 2026 10:00:00 +0000",
          std::string(20 << 20, 'x') + "end");
  ASSERT_TRUE(View("mail", "big", R"({"from": "big"})").ok());
  std::string path;
  int64_t size = 0;
  for (const auto& [name, entry] : Listing("mail/big")) {
    if (name.front() == '.') continue;
    path = "mail/big/" + name;
    size = entry.size();
  }
  EXPECT_GT(size, 20 << 20);
  EXPECT_EQ(Content(path, size - 3), "end");
  EXPECT_EQ(Content(path).find("error: more than one answer holds"), 0u);
  std::string whole;
  while (static_cast<int64_t>(whole.size()) < size) {
    const std::string piece = Content(path, static_cast<int64_t>(whole.size()), 8 << 20);
    ASSERT_FALSE(piece.empty() || piece.starts_with("error: ")) << piece;
    whole += piece;
  }
  EXPECT_EQ(whole.substr(whole.size() - 4), "xend");
}

TEST_F(V1Sources, ViewsAreFoundChangedSyncedAndDeletedAndOutliveARestart) {
  const auto made = View("mail", "unread", R"({"unread": true})");
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(made.view().path(), "/Sources/mail/unread");
  EXPECT_EQ(made.view().mode(), "query");
  const std::string id = made.view().external_id();
  Restart();
  ::sources::GetViewRequest get;
  for (const char* path : {"/Sources/mail/unread", "/sources/mail/unread", "mail/unread"}) {
    get.set_path(path);
    EXPECT_EQ(GetView(get).view().external_id(), id) << path;
    EXPECT_EQ(GetSmartQuery(get).view().filter(), R"({"unread":true})") << path;
  }
  get.set_path("/Sources/mail/other");
  EXPECT_TRUE(GetView(get).ok());
  EXPECT_FALSE(GetView(get).has_view());

  ::sources::SyncViewRequest sync;
  sync.set_external_id(id);
  EXPECT_EQ(SyncView(sync).results_count(), 1);
  AddMail("new/9.z", "z", "z", "", "z\n");
  const auto synced = SyncView(sync);
  EXPECT_EQ(synced.results_count(), 2);
  EXPECT_EQ(synced.new_results(), 1);
  EXPECT_GT(synced.view().last_executed(), 0);

  ::sources::UpdateViewRequest update;
  update.set_external_id(id);
  update.set_name("flagged");
  update.set_filter(R"({"flagged": true})");
  EXPECT_EQ(UpdateView(update).view().path(), "/Sources/mail/flagged");
  EXPECT_EQ(Subjects("flagged"), Ids({"3.c"}));
  ::sources::ListViewsRequest list;
  list.set_parent_path("/Sources/mail");
  EXPECT_EQ(ListViews(list).views_size(), 1);
  list.set_parent_path("/Sources/code");
  EXPECT_EQ(ListViews(list).views_size(), 0);
  ::sources::DeleteViewRequest remove;
  remove.set_external_id(id);
  const std::string reader = MakeToken("work", true);
  EXPECT_EQ(DeleteView(remove, {{"authorization", "Bearer " + reader}}).error(),
            "the token is read-only");
  MakeWorkspace("other");
  const std::string other = MakeToken("other");
  EXPECT_EQ(DeleteView(remove, {{"authorization", "Bearer " + other}}).error(), "query not found");
  EXPECT_TRUE(DeleteView(remove).ok());
  EXPECT_EQ(DeleteView(remove).error(), "query not found");
}

TEST_F(V1Sources, NamesMayMeanFilters) {
  ::sources::CreateViewRequest request;
  request.set_integration("mail");
  request.set_name("unread from:alice");  // as mkdir does
  const auto made = CreateSmartQuery(request);
  ASSERT_TRUE(made.ok()) << made.error();
  EXPECT_EQ(made.view().mode(), "smart");
  EXPECT_EQ(made.view().filter(), R"({"from":"alice","unread":true})");
  ::sources::ExecuteViewRequest execute;
  execute.set_path("/sources/mail/unread from:alice");
  const auto found = ExecuteSmartQuery(execute);
  ASSERT_EQ(found.entries_size(), 1);
  execute.set_filename(found.entries(0).name());
  execute.set_result_id(found.entries(0).result_id());
  EXPECT_NE(ExecuteSmartQuery(execute).file_data().find("\n\nfirst\n"), std::string::npos);
  execute.set_filename("none");
  execute.set_result_id("");
  EXPECT_EQ(ExecuteView(execute).error(), "file not found in query results");
  execute.set_path("/sources/mail/none");
  EXPECT_EQ(ExecuteView(execute).error(), "query not found");
}

TEST_F(V1Sources, AViewMayBeAFile) {
  ASSERT_TRUE(View("mail", "index", R"({"from": "alice"})", ".json").ok());
  const auto listing = Listing("mail");
  ASSERT_TRUE(listing.contains("index.json"));
  ASSERT_TRUE(listing.contains(".index.json.query.as"));
  ExpectTrueSizes("mail");
  EXPECT_NE(Content("mail/index.json").find("\"subject\": \"Quarterly report\""),
            std::string::npos);
  const std::string definition = Content("mail/.index.json.query.as");
  EXPECT_EQ(definition.find("{\n  \"cache_ttl\": 0,\n  \"created_at\": "), 0u) << definition;
  EXPECT_EQ(definition.back(), '}');
}

TEST_F(V1Sources, GitShowsLogPatchesBranchesTagsAndDiffs) {
  MakeRepository();
  ASSERT_TRUE(View("code", "log", "{}").ok());
  ASSERT_TRUE(View("code", "bobs", R"({"branch": "topic/x", "author": "Bob"})").ok());
  ASSERT_TRUE(View("code", "patches", R"({"kind": "patches", "most": 1})").ok());
  ASSERT_TRUE(View("code", "branches", R"({"kind": "branches"})").ok());
  ASSERT_TRUE(View("code", "tags", R"({"kind": "tags"})").ok());
  ASSERT_TRUE(View("code", "diff", R"({"kind": "diff", "from": "v1", "to": "topic/x"})").ok());
  EXPECT_EQ(Listing("code/log").size(), 3u);
  EXPECT_EQ(Listing("code/bobs").size(), 2u);
  EXPECT_EQ(Listing("code/patches").size(), 2u);
  EXPECT_TRUE(Listing("code/branches").contains("topic_x.txt"));
  EXPECT_TRUE(Listing("code/tags").contains("v1.txt"));
  for (const char* view : {"log", "bobs", "patches", "branches", "tags", "diff"}) {
    ExpectTrueSizes(std::string("code/") + view);
  }
  for (const auto& [name, entry] : Listing("code/log")) {
    if (name.find("first_a_b.txt") == std::string::npos) continue;
    EXPECT_NE(Content("code/log/" + name).find("Author: Alice <alice@example.org>\n"),
              std::string::npos);
  }
  for (const auto& [name, entry] : Listing("code/patches")) {
    if (name.front() != '.') {
      EXPECT_NE(Content("code/patches/" + name).find("\n+two\n"), std::string::npos);
    }
  }
  EXPECT_NE(Content("code/diff/v1..topic_x.diff").find("\n+three\n"), std::string::npos);
  EXPECT_NE(View("code", "x", R"({"branch": "--output=/tmp/x"})").error().find("must not begin"),
            std::string::npos);
  ASSERT_TRUE(View("code", "nobranch", R"({"branch": "none"})").ok());
  std::string error;
  (void)Listing("code/nobranch", &error);
  EXPECT_EQ(error.find("git: fatal:"), 0u) << error;
  ::sources::ListResourcesRequest resources;
  resources.set_integration("code");
  EXPECT_EQ(ListResources(resources).resources_size(), 3);
  resources.set_resource_type("tag");
  EXPECT_EQ(ListResources(resources).resources(0).name(), "v1");
}

TEST(MailHeaders, AnyBytesHaveAnAnswer) {
  EXPECT_EQ(DecodeWords("=?utf-8?q?a_b=C3=A4?= =?utf-8?B?Yw==?= d"), "a bäc d");
  EXPECT_EQ(DecodeWords("=?utf-8?q?open"), "=?utf-8?q?open");
  EXPECT_EQ(DecodeWords("=?koi8-r?B?0A==?="), "=?koi8-r?B?0A==?=");
  EXPECT_EQ(DecodeWords("=?utf-8?q?=FF?="), "\xef\xbf\xbd");
  EXPECT_EQ(ParseMailDate("Sat, 31 Jan 2026 12:00:00 +0100"), 1769857200);
  EXPECT_EQ(ParseMailDate("31 Jan 26 11:00 GMT"), 1769857200);
  EXPECT_EQ(ParseMailDate("tomorrow"), 0);
  const MailHeaders headers =
      ParseMailHeaders("subject: one\r\n two\r\nSUBJECT: three\r\nno colon\r\n\r\nFrom: body\r\n");
  EXPECT_EQ(headers.subject, "one two");
  EXPECT_EQ(headers.from, "");
  EXPECT_EQ(ParseMailHeaders(std::string_view("\0\xff:\n", 4)).date, 0);
}

}  // namespace
}  // namespace airstore::gateway
