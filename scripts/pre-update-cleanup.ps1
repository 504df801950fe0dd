#Requires -Version 5.1
# Readies a device for an app update, unattended: back up, clear stale cache, check the databases.
# The parameters are read by hand, so that everything shopmend itself takes can follow.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
# Whatever could not be foreseen, a disk that is full for example, must not pass for a finding: PowerShell would end with 1.
trap {
    [Console]::Error.WriteLine("pre-update-cleanup: $($_.Exception.Message)")
    exit 5
}

$usage = @'
Usage: scripts/pre-update-cleanup.ps1 [-n] [-b SHOPMEND] [-l LOG] [-s DIR] [--] [WHERE...]

Before an app is updated: copies its stores into the vault, clears stale cache, and checks every database and cache.
It asks nothing, and is safe to run again at any time, also after an interruption.

  -n           dry run: show what would be cleared, and check; back up and clear nothing
  -b SHOPMEND  the program; else $env:SHOPMEND, else a shopmend.exe beside this script, else the one in PATH
  -l LOG       the log, appended to; default %LOCALAPPDATA%\shopmend\pre-update-cleanup.log;
               a log over 1 MB is kept once as LOG.1
  -s DIR       shopmend's state folder (--state-dir)
  -h           this text
  WHERE        which apps and where, as for shopmend scan: --app ID, --image DIR --platform P, --profiles DIR, ...

Ends with the worst exit code of its steps, as the README's table has them: 0 all is well; 1 findings are left, for
example a damaged database that a person should let shopmend repair before the update; 11 the app is running. It clears
nothing when the backup failed. 127: shopmend was not found.
'@

$program = $env:SHOPMEND
$log = $null
$state = $null
$dryRun = $false
$where = @()

$i = 0
while ($i -lt $args.Count) {
    $word = [string]$args[$i]
    $value = if ($i + 1 -lt $args.Count) { [string]$args[$i + 1] } else { $null }
    if ($word -ceq '-h') { Write-Output $usage; exit 0 }
    elseif ($word -ceq '-n') { $dryRun = $true; $i += 1 }
    elseif (@('-b', '-l', '-s') -ccontains $word -and $null -ne $value) {
        if ($word -ceq '-b') { $program = $value }
        elseif ($word -ceq '-l') { $log = $value }
        else { $state = $value }
        $i += 2
    }
    elseif ($word -ceq '--') { $i += 1; break }
    elseif ($word.StartsWith('--') -or -not $word.StartsWith('-')) { break }
    else { [Console]::Error.WriteLine($usage); exit 64 }
}
while ($i -lt $args.Count) { $where += [string]$args[$i]; $i += 1 }

if (-not $log) {
    if (-not $env:LOCALAPPDATA) {
        [Console]::Error.WriteLine('pre-update-cleanup: LOCALAPPDATA is not set; name the log with -l')
        exit 64
    }
    $log = Join-Path $env:LOCALAPPDATA 'shopmend\pre-update-cleanup.log'
}
$log = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($log)
try {
    [void][IO.Directory]::CreateDirectory([IO.Path]::GetDirectoryName($log))
    $old = New-Object IO.FileInfo $log
    if ($old.Exists -and $old.Length -gt 1000000) {
        [IO.File]::Delete("$log.1")
        [IO.File]::Move($log, "$log.1")
    }
    [IO.File]::AppendAllText($log, '')
}
catch {
    [Console]::Error.WriteLine("pre-update-cleanup: cannot write the log ${log}: $($_.Exception.Message)")
    exit 5
}

$utf8 = New-Object Text.UTF8Encoding $false

function Note([string]$text) {
    $now = [DateTime]::UtcNow.ToString('yyyy-MM-ddTHH:mm:ssZ')
    [IO.File]::AppendAllText($log, "$now $text`r`n", $utf8)
}

function Say([string]$text) {
    Note $text
    Write-Output $text
}

if (-not $program) {
    $beside = Join-Path $PSScriptRoot 'shopmend.exe'
    $program = if (Test-Path -LiteralPath $beside) { $beside } else { 'shopmend.exe' }
}
$found = Get-Command -Name $program -CommandType Application -ErrorAction SilentlyContinue | Select-Object -First 1
if ($null -eq $found) {
    Say "shopmend was not found ($program); name it with -b"
    exit 127
}
$program = $found.Source

# How bad an exit code is, in the same order as in shopmend itself, and what it means.
$codes = @{
    0 = @(0, 'all is well')
    2 = @(1, 'nothing wrong was found, but something was not looked at')
    1 = @(2, 'findings are left')
    3 = @(3, 'something is left or was skipped')
    11 = @(4, 'the app is running')
    12 = @(5, 'device absent or unauthorised')
    10 = @(6, 'another run holds the lock')
    13 = @(7, 'profile or configuration invalid')
    64 = @(8, 'wrong command line')
    4 = @(9, 'a repair failed and was rolled back')
    130 = @(10, 'interrupted')
    5 = @(11, 'failed; the log says what to do')
}
function Rank([int]$code) { if ($codes.ContainsKey($code)) { $codes[$code][0] } else { 12 } }
function Meaning([int]$code) { if ($codes.ContainsKey($code)) { $codes[$code][1] } else { 'ended unexpectedly' } }

# One argument as the C library of Windows reads it back.
function Quoted([string]$word) {
    if ($word -ne '' -and $word -notmatch '[\s"]') { return $word }
    '"' + ($word -replace '(\\*)"', '$1$1\"' -replace '(\\+)$', '$1$1') + '"'
}

$script:worst = 0
function Step([string]$name, [string[]]$command) {
    $all = @()
    if ($state) { $all += @('--state-dir', $state) }
    $all += $command + $where
    Note "${name}: $program $($all -join ' ')"
    # Not by the pipeline, which changes the bytes and, in old versions, the meaning of what is said on standard error.
    $start = New-Object Diagnostics.ProcessStartInfo
    $start.FileName = $program
    $start.Arguments = (@($all | ForEach-Object { Quoted $_ }) -join ' ')
    $start.UseShellExecute = $false
    # Else that in which PowerShell was started, whatever folder it went to since.
    $start.WorkingDirectory = $ExecutionContext.SessionState.Path.CurrentFileSystemLocation.ProviderPath
    $start.RedirectStandardInput = $true
    $start.RedirectStandardOutput = $true
    $start.RedirectStandardError = $true
    $start.StandardOutputEncoding = $utf8
    $start.StandardErrorEncoding = $utf8
    # The code of a program that cannot be started, as in a shell.
    $code = 126
    try {
        $process = [Diagnostics.Process]::Start($start)
        $process.StandardInput.Close()
        $errors = $process.StandardError.ReadToEndAsync()
        $text = $process.StandardOutput.ReadToEnd()
        $process.WaitForExit()
        [IO.File]::AppendAllText($log, $text + $errors.Result, $utf8)
        $code = $process.ExitCode
    }
    catch [ComponentModel.Win32Exception] { Note $_.Exception.Message }
    Say "${name}: $(Meaning $code) ($code)"
    if ((Rank $code) -gt (Rank $script:worst)) { $script:worst = $code }
}

Say ("start: $program $($where -join ' ')".TrimEnd())
if ($dryRun) {
    Step 'what would be cleared' @('repair', '--dry-run', '--only', 'clear')
    Step 'check' @('scan')
}
else {
    Step 'backup' @('backup')
    # What a backup skipped is no cache: clearing keeps its own copies, so that it can be undone.
    if (@(0, 1, 2, 3) -contains $script:worst) {
        Step 'clear' @('repair', '--yes', '--only', 'clear')
    }
    else {
        Say 'clear: left out, since the backup did not succeed'
    }
    Step 'check' @('scan')
}
Say "done: $(Meaning $script:worst) ($($script:worst)); log: $log"
exit $script:worst
